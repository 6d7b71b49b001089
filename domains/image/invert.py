"""Pictures from degraded measurements of them: every method on the same problem.

Particles of a picture lie side by side, so that P pictures are recovered in one run, and none sees
another.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from torch import Tensor

from domains.image.flow.inverse import Tally
from domains.image.operators import Measurement
from domains.image.prior import Prior
from guided import DDIM, SCG, BestOfN, Counted, Operator, Rng, Sampler
from guided.guidance import DPS, MPGD, SMC, TMPD, EnKG
from guided.rng import stream_seed
from guided.schedule import karras

SIGMA_MIN = 0.02
DRAWS = 1  # the streams of methods; those of measurements have no key of their own


@dataclass(frozen=True)
class Settings:
    """How to recover."""

    steps: int = 50
    """Steps from noise to data."""
    members: int = 64
    """Pictures that move together or alone for one that was measured."""
    candidates: int = 16
    """Candidates of SCG and best-of-n, which draw so many times fewer pictures."""
    rollout: int = 6
    """Largest number of network calls that EnKG takes to look at clean pictures."""
    pull: float = 0.3
    """Scale of DPS, in units of pixels."""
    descent: float = 0.5
    """Scale of MPGD: 1 replaces what a picture of unit gain shows by what was measured."""

    def __post_init__(self) -> None:
        if min(self.steps, self.candidates, self.rollout) < 1 or self.members < 2:
            raise ValueError(
                f"give at least 1 step, 1 candidate, a rollout of 1 and 2 members, got {self}"
            )
        if min(self.pull, self.descent) < 0:
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


def none(given: Inversion) -> Iterator[Tensor]:
    """Draw from the prior: what is known without the measurement."""
    return given.walk(given.ancestral)


def best_of_n(given: Inversion) -> Iterator[Tensor]:
    """Draw from the prior, and keep the likeliest of the candidates."""
    method = BestOfN(given.ancestral, given.operator, given.settings.candidates)
    yield method.sample(given.start(given.settings.chosen), given.times, rng=given.rng)


def scg(given: Inversion) -> Iterator[Tensor]:
    """Choose among candidates at every step."""
    method = SCG(given.ancestral, given.operator, given.settings.candidates)
    return given.walk(method, given.settings.chosen)


def fk(given: Inversion) -> Iterator[Tensor]:
    """Weigh particles by their likelihood, as sharply as keeps half of them alive."""
    members = given.settings.members
    return given.walk(SMC(given.ancestral, given.operator, members, temper=True))


def enkg(given: Inversion) -> Iterator[Tensor]:
    """Move an ensemble by what it learns of the operator."""
    rollout = given.settings.rollout
    return given.walk(EnKG(DDIM(given.denoiser), given.operator, rollout=rollout))


def dps(given: Inversion) -> Iterator[Tensor]:
    """Pull every step down the misfit, through the network."""
    return given.walk(DPS(given.ancestral, given.operator, given.settings.pull))


def tmpd(given: Inversion) -> Iterator[Tensor]:
    """Update every clean estimate by the moments of the network.

    Raises:
        ValueError: for an operator that is not linear.
    """
    given_linear(given, "TMPD")
    return given.walk(DDIM(TMPD(given.denoiser, given.operator), eta=1.0))


def mpgd(given: Inversion) -> Iterator[Tensor]:
    """Move every clean estimate down the misfit, not through the network."""
    scale = given.settings.descent * given.measurement.noise**2
    return given.walk(DDIM(MPGD(given.denoiser, given.operator, scale)))


def exact(given: Inversion) -> Iterator[Tensor]:
    """Draw from the posterior in closed form.

    Raises:
        ValueError: for a prior that has none, or an operator that is not linear.
    """
    if given.prior.law is None:
        raise ValueError(
            "the exact posterior is known for the exact prior alone, got a trained model; choose "
            "the prior 'exact' or another method"
        )
    given_linear(given, "the exact posterior")
    seen = given.measurement
    A = seen.degradation.matrix(seen.y.dtype)
    law, _ = given.prior.law.measured(A, seen.y.flatten(1), seen.noise)
    yield law.sample(given.settings.members, given.rng)


def given_linear(given: Inversion, method: str) -> None:
    """Refuse an operator that is not linear.

    Raises:
        ValueError: in words.
    """
    degradation = given.measurement.degradation
    if not degradation.linear:
        raise ValueError(
            f"{method} needs a linear operator, got {type(degradation).__name__}; use a method "
            f"that takes any, such as EnKG or SCG"
        )


METHODS: dict[str, Callable[[Inversion], Iterator[Tensor]]] = {
    "none": none,
    "best-of-n": best_of_n,
    "SCG": scg,
    "FK": fk,
    "EnKG": enkg,
    "DPS": dps,
    "MPGD": mpgd,
    "TMPD": tmpd,
    "exact": exact,
}


def inversion(prior: Prior, measurement: Measurement, settings: Settings, seed: int) -> Inversion:
    """Return the problem of one method, whose draws are those of every other one."""
    index = range(len(measurement.y))
    return Inversion(prior, measurement, settings, stream(seed, index))


def stream(seed: int, index: range) -> Rng:
    """Return the draws of methods, one stream a picture, apart from the noise of measurements."""
    return Rng([stream_seed(seed, i, DRAWS) for i in index])
