"""The problem that a method is given: what is known, what was measured, and how to recover.

Particles of a picture lie side by side, so that P pictures are recovered in one run, and none sees
another.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from torch import Tensor

from domains.image.flow.inverse import Tally
from domains.image.operators import Measurement
from domains.image.prior import Prior
from guided import DDIM, Counted, Operator, Rng, Sampler
from guided.schedule import karras

SIGMA_MIN = 0.02


@dataclass(frozen=True)
class Settings:
    """How to recover."""

    steps: int = 30
    """Steps from noise to data."""
    members: int = 64
    """Pictures that move together or alone for one that was measured."""
    candidates: int = 16
    """Candidates of SCG and best-of-n, which draw so many times fewer pictures."""
    rollout: int = 10
    """Largest number of network calls that EnKG takes to look at clean pictures."""
    pull: float = 1.0
    """Scale of DPS, in units of pixels."""
    descent: float = 1.0
    """Scale of MPGD: 1 replaces what a picture of unit gain shows by what was measured."""

    def __post_init__(self) -> None:
        if min(self.steps, self.candidates, self.rollout) < 1 or self.members < 2:
            raise ValueError(
                f"give at least 1 step, 1 candidate, a rollout of 1 and 2 members, got {self}"
            )
        if not (0 <= self.pull < math.inf and 0 <= self.descent < math.inf):
            raise ValueError(f"scales are 0 or positive, got {self.pull:g} and {self.descent:g}")

    @property
    def chosen(self) -> int:
        """Return how many pictures are left where each is chosen from candidates."""
        return max(1, self.members // self.candidates)


@dataclass(frozen=True)
class Inversion:
    """P measured pictures, and all that a method may use to recover them.

    Args:
        prior: what is known of pictures.
        measurement: what was measured.
        settings: how to recover.
        rng: one stream a picture.
    """

    prior: Prior
    measurement: Measurement
    settings: Settings
    rng: Rng
    denoiser: Counted = field(init=False)
    tally: Tally = field(init=False)
    operator: Operator = field(init=False)
    times: list[float] = field(init=False)

    def __post_init__(self) -> None:
        """Count all calls, and lay the time grid."""
        seen, schedule = self.measurement, self.prior.denoiser.schedule
        tally = Tally(seen.degradation)
        operator = Operator(tally, seen.y, seen.noise, differentiable=seen.operator.differentiable)
        object.__setattr__(self, "denoiser", Counted(self.prior.denoiser))
        object.__setattr__(self, "tally", tally)
        object.__setattr__(self, "operator", operator)
        object.__setattr__(self, "times", karras(schedule, self.settings.steps, SIGMA_MIN))

    @property
    def ancestral(self) -> DDIM:
        """The stochastic sampler."""
        return DDIM(self.denoiser, eta=1.0)

    def start(self, members: int) -> Tensor:
        """Return x_T of so many members a picture, (P members, C, H, W)."""
        shape = (len(self.measurement.y) * members, *self.prior.shape)
        return self.ancestral.initial(shape, self.times, self.rng)

    def walk(self, sampler: Sampler, members: int | None = None) -> Iterator[Tensor]:
        """Yield the members (P members, C, H, W) after every step."""
        start = self.start(members or self.settings.members)
        for state in sampler.iterate(start, self.times, rng=self.rng):
            yield state.x
