r"""What all algorithms here learn from: normalised transitions, and what their targets are made of.

A batch is the actions (B, A) and a dict: ``state`` (B, S), ``reward`` (B,), ``discount`` (B,),
``reached`` (B, S), the number ``step`` of the training step, and, where the data have costs, the
``cost`` of the transition alone (B,). A target is

.. math:: y = \mathrm{reward} + \mathrm{discount} \cdot V(\mathrm{reached}),

with a discount of 0 after a terminal. A timeout has a future: its discount stays, and ``reached``
is the true last state of the episode, never the first one of the next.

With ``n_step = 1`` and ``warm_up = 0`` that is the textbook target r + gamma V(s'), and what the
algorithms here were published with.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from domains.rl.critics.targets import targets
from domains.rl.data.normalise import Normaliser
from domains.rl.data.offline import OfflineData
from domains.rl.train import Progress
from guided.train import Batch, TrainConfig, train


@dataclass(frozen=True)
class Bootstrap:
    """How far the targets look before a learned value takes over."""

    gamma: float = 0.99
    """Discount of a step."""
    n_step: int = 1
    """Rewards summed before the value of the state reached takes over."""
    warm_up: float = 0.0
    """Share of the training on Monte-Carlo returns before that."""

    def __post_init__(self) -> None:
        if not 0 < self.gamma <= 1 or self.n_step < 1 or not 0 <= self.warm_up <= 1:
            raise ValueError(
                f"targets need gamma in (0, 1], n_step >= 1 and warm_up in [0, 1], got "
                f"{self.gamma}, {self.n_step} and {self.warm_up}"
            )


def short(steps: int) -> TrainConfig:
    """Return the optimisation that all algorithms here share.

    The papers take a million steps of 3e-4. Runs here are a hundred times shorter, so the rate is
    higher and falls to 0. Gradients are not clipped: the parts of a summed loss would feel each
    other through the joint norm.
    """
    return TrainConfig(
        steps,
        batch=256,
        lr=1e-3,
        weight_decay=0.0,
        clip=float("inf"),
        ema=0.995,
        save_every=2_000,
        log_every=100,
    )


class Transitions:
    """Logged transitions, normalised.

    Args:
        data: logged episodes.
        bootstrap: what targets are made of.

    Attributes:
        sizes: numbers in a state and in an action.
        normaliser: of both.
    """

    def __init__(self, data: OfflineData, bootstrap: Bootstrap) -> None:
        self.normaliser = Normaliser.of(data)
        self.sizes = data.states.shape[1], data.actions.shape[1]
        self.states = self.normaliser.states(data.states)
        self.actions = self.normaliser.actions(data.actions)
        self.at, self.costs, self.warm_up = data.at, data.costs, bootstrap.warm_up
        self.early = targets(data, bootstrap.gamma, None)
        self.late = targets(data, bootstrap.gamma, bootstrap.n_step)

    def batches(self, loop: TrainConfig) -> Batch:
        """Return the function that draws a batch, as :func:`guided.train.train` calls it."""
        turn = round(self.warm_up * loop.steps)

        def batch(step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, Any]]:
            i = torch.randint(len(self.actions), (loop.batch,), generator=generator)
            own = self.early if step < turn else self.late
            cost = {} if self.costs is None else {"cost": self.costs[i]}
            return self.actions[i], cost | {
                "state": self.states[self.at[i]],
                "reward": own.rewards[i],
                "discount": own.discounts[i],
                "reached": self.states[own.reached[i]],
                "step": step,
            }

        return batch


def fit(
    stage: str, module: nn.Module, data: Transitions, loop: TrainConfig, folder: Path | None
) -> Iterator[Progress]:
    """Train a module whose ``loss(actions, batch, rng)`` returns one number a transition.

    Args:
        stage: what progress is called.
        module: it; left with its last weights, frozen.
        data: what it learns from.
        loop: how.
        folder: of the resumable state; None keeps none.
    """
    for state in train(module, data.batches(loop), loop, folder):
        yield Progress(stage, state.step, loop.steps, state.loss)
    module.eval().requires_grad_(False)
