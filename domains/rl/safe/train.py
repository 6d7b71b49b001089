r"""FISOR in three resumable stages: critics, weights of the whole set once, actor.

The critics do not depend on the policy. So they are trained first, all transitions are weighed
once, and the policy is trained on rows drawn in proportion to their weights: rows of weight 0 cost
nothing, and no batch is spent on rows that hardly count. The original does all three in every
step; what both minimise is

.. math:: E_{(s, a) \sim D}\; w(s, a)\, |\epsilon - \epsilon_\theta(a_t, s, t)|^2,

up to a constant factor. No classifier that depends on time is needed.

Source: Zheng et al., 2024, Safe Offline Reinforcement Learning with Feasibility-Guided Diffusion
Model, theorem 2 and algorithm 1, https://arxiv.org/abs/2401.10700.
Differs: the order above; a continuous-time schedule with DPM-Solver++ instead of five DDPM steps.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from domains.rl.critics.feasible import SafeCritics, SafetyConfig
from domains.rl.data.identity import facts, identity
from domains.rl.data.normalise import Normaliser
from domains.rl.data.offline import OfflineData
from domains.rl.model import ModelConfig, behaviour
from domains.rl.networks import Networks
from domains.rl.policy import DiffusionPolicy, Sampling
from domains.rl.safe.margins import margins, notes
from domains.rl.safe.weights import WeightConfig, weights
from domains.rl.train import Progress, Scaled, loop_of, staged
from guided.resume import claim
from guided.rng import initial_weights, stream_seed
from guided.train import TrainConfig

CHUNK = 16_384  # transitions judged at once


@dataclass(frozen=True)
class SafeTraining:
    """Everything a training run depends on, but the data."""

    model: ModelConfig = field(default_factory=ModelConfig)
    """The architecture of the policy."""
    critics: SafetyConfig = field(default_factory=SafetyConfig)
    """How feasibility and value are learned."""
    weights: WeightConfig = field(default_factory=WeightConfig)
    """How transitions are weighed."""
    critic_loop: TrainConfig = field(
        default_factory=loop_of(steps=20_000, batch=256, ema=0.999, clip=float("inf"))
    )
    """The optimisation of the critics."""
    policy_loop: TrainConfig = field(default_factory=loop_of(steps=10_000, batch=256))
    """The optimisation of the policy."""
    seed: int = 0
    """Of everything random; ``guided-rl train`` sets it, and that of both loops, to its own."""


class SafeRun:
    """One training run in a folder; iterate over :meth:`stages`, then take :meth:`policy`.

    Args:
        data: logged episodes, with costs or margins.
        config: how to train.
        folder: of the run; what is found there is continued.

    Raises:
        ValueError: for data that do not tell what is unsafe.
    """

    def __init__(self, data: OfflineData, config: SafeTraining, folder: Path) -> None:
        self.data, self.config, self.folder = data, config, folder
        how = config.critics
        self.margins = margins(
            data,
            how.label,
            how.safety_gamma,
            floor=how.floor,
            from_costs=how.from_costs,
            compat=how.fisor_compat,
        )
        self.normaliser = Normaliser.of(data)
        self.scaled = Scaled(
            self.normaliser.states(data.states), self.normaliser.actions(data.actions), data.at
        )
        ended = data.terminals | data.timeouts if how.fisor_compat else data.terminals
        self.future = 1.0 - ended.float()
        self.reward_scale = how.reward_scale or reward_scale(data)
        sizes = data.states.shape[1], data.actions.shape[1]
        with initial_weights(stream_seed(config.seed)):
            self.behaviour = behaviour(config.model, *sizes)
            self.critics = SafeCritics(*sizes, how)

    def policy(self, steps: int = 10, candidates: int = 16, **sampling: Any) -> DiffusionPolicy:
        """Return the policy of the networks as they are now; arguments of :class:`Sampling`."""
        data, model = self.data, self.config.model
        networks = Networks(self.behaviour, self.normaliser, model=model, safety=self.critics)
        about = {**facts(data), "algorithm": "fisor", "label": self.margins.scale}
        return DiffusionPolicy(
            networks,
            Sampling(steps, scale=0.0, candidates=candidates, **sampling),
            keys=data.keys,
            shapes=data.shapes,
            environment=data.environment,
            about=about,
        )

    def notes(self) -> list[str]:
        """Return what is to be said about the data's costs or margins."""
        return notes(self.data, self.margins, self.config.critics.safety_gamma)

    def found(self) -> str:
        """Return how much of the data the policy imitates, once it is trained."""
        own = self.weights.double()
        equal = (own.sum().square() / own.square().sum()).item()
        none = (own == 0).double().mean().item()
        return (
            f"{none:.1%} of {len(own)} transitions weigh nothing, the others count as much as "
            f"{equal:.0f} equal ones"
        )

    def stages(self) -> Iterator[Progress]:
        """Train critics and policy in turn, yielding where the run is.

        Raises:
            CheckpointError: if the folder holds a run of other data or settings.
            ValueError: if every transition weighs nothing.
        """
        claim(self.folder / "training.json", {**identity(self.data), **asdict(self.config)})
        yield from self.train_critics()
        yield from self.train_policy()

    def train_critics(self) -> Iterator[Progress]:
        """Learn what is feasible, and what it earns."""
        loop, how = self.config.critic_loop, self.config.critics
        count = len(self.scaled.actions)

        def batch(step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, Any]]:
            i = torch.randint(count, (loop.batch,), generator=generator)
            return self.scaled.actions[i], self.critic_batch(i, how.discount_at(step / loop.steps))

        yield from staged("critics", self.critics, batch, loop, self.folder, self.critics.loss)

    def critic_batch(self, i: Tensor, discount: float) -> dict[str, Any]:
        """Return the transitions ``i`` as :meth:`SafeCritics.loss` reads them."""
        at = self.scaled.at[i]
        return {
            "state": self.scaled.states[at],
            "reached": self.scaled.states[at + 1],
            "reward": self.data.rewards[i] * self.reward_scale,
            "future": self.future[i],
            "now": self.margins.now[i],
            "next": self.margins.next[i],
            "discount": discount,
        }

    @torch.no_grad()
    def weigh(self) -> Tensor:
        """Return the weight of every transition, (N,), by the critics as they are now."""
        parts = []
        for i in torch.arange(len(self.scaled.actions)).split(CHUNK):
            state = self.scaled.states[self.scaled.at[i]]
            q, q_h = self.critics.judge(state, self.scaled.actions[i])
            v, v_h = self.critics.v(state)
            parts.append(weights(q, v, q_h, v_h, self.config.weights))
        return torch.cat(parts)

    def train_policy(self) -> Iterator[Progress]:
        """Fit the denoiser to the actions, drawn in proportion to their weights."""
        self.weights = self.weigh()
        loop, draw = self.config.policy_loop, Proportional(self.weights)

        def batch(_: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
            i = draw(loop.batch, generator)
            return self.scaled.actions[i], self.scaled.states[self.scaled.at[i]]

        loss = self.behaviour.loss
        yield from staged("actor", self.behaviour, batch, loop, self.folder, loss)


class Proportional:
    """Draws rows in proportion to their weights, with replacement.

    Args:
        weights: at least 0, (N,).

    Raises:
        ValueError: for weights that are all 0 or not finite.
    """

    def __init__(self, weights: Tensor) -> None:
        self.ends = weights.double().cumsum(0)
        total = self.ends[-1].item()
        if not 0 < total < float("inf"):
            raise ValueError(
                f"the weights of all transitions sum to {total}, so that there is nothing to "
                f"imitate; train the critics longer, or look at the costs of the data"
            )

    def __call__(self, count: int, generator: torch.Generator) -> Tensor:
        """Return row numbers, (count,)."""
        at = torch.rand(count, generator=generator, dtype=torch.float64) * self.ends[-1]
        return torch.searchsorted(self.ends, at, right=True).clamp(max=len(self.ends) - 1)


def reward_scale(data: OfflineData) -> float:
    """Return steps of the longest episode / (largest - least return); 1 where they are equal."""
    span = float(data.returns.max() - data.returns.min())
    return int(data.lengths.max()) / span if span > 0 else 1.0
