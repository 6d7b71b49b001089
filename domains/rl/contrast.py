"""What a policy has for guidance by contrast, and what its training does for it.

The strong branch is the behaviour given the state. Its weak branches are the behaviour given no
state, given another one, with a block skipped, or as it was early in its training.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from guided.denoiser import Denoiser
from guided.guidance.registry import Parts
from guided.guidance.training.dropout import dropped
from guided.rng import Rng
from guided.sampler import Sampler
from guided.snapshot import with_snapshot
from guided.train import TrainConfig

if TYPE_CHECKING:
    from domains.rl.policy import DiffusionPolicy


@dataclass(frozen=True)
class Contrasts:
    """What training the behaviour does for guidance by contrast; the defaults do nothing."""

    drop: float = 0.0
    """Share of the states that are hidden, so that the network also knows actions of no state, as
    cfg needs; 0.1 to 0.2 is common."""
    weak: bool = False
    """Keep the network of a sixteenth of the steps in the policy, as autoguidance needs."""

    def __post_init__(self) -> None:
        if not 0 <= self.drop < 1:
            raise ValueError(f"the share of hidden states is in [0, 1), got {self.drop}")

    def loop(self, loop: TrainConfig) -> TrainConfig:
        """Return the optimisation of the behaviour, with a snapshot if one is to be kept."""
        return with_snapshot(loop) if self.weak else loop

    def hidden(self, states: Tensor, generator: torch.Generator) -> Tensor:
        """Return states (N, S), some of them hidden; with a share of 0 nothing is drawn."""
        if self.drop == 0:
            return states
        rng = Rng.wrap(generator)
        return dropped({"s": states}, {"s": no_state}, {"s": self.drop}, rng)["s"]


def no_state(states: Tensor) -> Tensor:
    """Return the null condition for states (N, S), as the behaviour's network knows it."""
    return torch.full_like(states, math.nan)


def conditions(policy: "DiffusionPolicy", state: Tensor) -> dict[str, Tensor]:
    """Return the conditions of a run for normalised states (N, S), embedded by each network.

    Raises:
        ValueError: for a state that is not a number, which would be taken for no state.
    """
    net: Any = policy.denoiser.net
    if net.null and bool(state.isnan().any()):
        raise ValueError(
            "an observation holds NaN, which this policy would take for no state; give numbers"
        )
    cond = {"state": state, "behaviour": policy.denoiser.embed(state)}
    for name, other in (("energy", policy.energy), ("weak", policy.weak)):
        if other is not None:
            cond[name] = other.embed(state)
    return cond


def parts(policy: "DiffusionPolicy", sampler: Callable[[Denoiser], Sampler]) -> Parts:
    """Return what there is for guidance of a policy.

    Random states are standard normal: normalised states have mean 0 and deviation 1. The state that
    values and energies are given stays the true one in all branches.

    Args:
        policy: whose networks are used.
        sampler: makes its sampler of a denoiser, other guidance around it.
    """
    denoiser = policy.denoiser
    net: Any = denoiser.net

    def null(cond: dict[str, Tensor]) -> dict[str, Tensor]:
        return {**cond, "behaviour": net.nothing.expand_as(cond["behaviour"])}

    def random(cond: dict[str, Tensor], rng: Rng) -> dict[str, Tensor]:
        return {**cond, "behaviour": denoiser.embed(rng.normal(cond["state"].shape))}

    return Parts(
        denoiser=denoiser,
        sampler=sampler,
        null=null if net.null else None,
        weak=policy.weak,
        random=random,
        attention=False,
        domain="this policy",
    )
