r"""Initial fields from later, coarse and noisy ones: the flow as a black box.

The measurement is every fourth point of the vorticity after a time, plus noise. Fields are in units
of the prior's standardisation, and so is the noise.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from domains.image.flow.solver import KolmogorovFlow
from guided import DDIM, Denoiser, DPMpp2M, Operator, Rng, Simulator
from guided.guidance import EKI, DenoisedEKI, EnKG, KalmanWaltz
from guided.metrics import crps, spread_skill
from guided.rng import stream_seed
from guided.schedule import karras

EVERY = 4  # points between two that are measured, along both axes
SIGMA_MIN = 0.02
FARTHEST = 20.0  # noise-to-signal ratio where samples start


@dataclass(frozen=True)
class Measurement:
    """What is known of a field.

    Args:
        operator: the forward map and the measurement.
        truth: the field (1, size, size), which no method sees.
        seen: the later field's points (size / 4, size / 4), noise included.
        tally: counts the simulations.
    """

    operator: Operator
    truth: Tensor
    seen: Tensor
    tally: "Tally"


@dataclass(frozen=True)
class Settings:
    """How to recover."""

    members: int = 100
    """Members J of the ensemble."""
    steps: int = 60
    """Steps of EnKG."""
    levels: int = 20
    """Levels of the denoised EKI."""
    walk: int = 10
    """Denoising steps of a level."""
    moves: int = 40
    """Moves of the Waltz after it, of 12 denoising steps each."""


def measured(
    truth: Tensor, std: float, time: float, noise: float, rng: Rng, workers: int = 1
) -> Measurement:
    """Measure a field (1, size, size) that the flow moves for a time.

    Args:
        truth: the standardised field.
        std: what vorticities are divided by.
        time: how long the flow moves it.
        noise: standard deviation of the noise, in units of the standardised field.
        rng: draws the noise.
        workers: processes that simulate.
    """
    forward = Later(truth.shape[-1], std, time)
    clean = torch.from_numpy(forward(truth[None].numpy()))
    seen = clean + noise * rng.normal(clean.shape)
    shape = tuple(clean.shape[1:])
    tally = Tally(Simulator(forward, shape, workers=workers, batched=True))
    operator = Operator(tally, seen, noise, differentiable=False)
    return Measurement(operator, truth, seen[0], tally)


class Tally:
    """Counts the fields that a forward map is evaluated on."""

    def __init__(self, forward: Callable[[Tensor], Tensor]) -> None:
        self.forward, self.rows = forward, 0

    def __call__(self, fields: Tensor) -> Tensor:
        """Count and pass on."""
        self.rows += len(fields)
        return self.forward(fields)


class Later:
    """The black box: a stack of fields (b, 1, size, size) to their measured points.

    Args:
        size: points along an axis.
        std: what vorticities are divided by.
        time: how long the flow moves them.
    """

    def __init__(self, size: int, std: float, time: float) -> None:
        self.size, self.std, self.time = size, std, time
        self.flow: KolmogorovFlow | None = None

    def __call__(self, fields: np.ndarray) -> np.ndarray:
        """Return (b, size / 4, size / 4) in float32; NaN where a field blew up."""
        self.flow = self.flow or KolmogorovFlow(self.size)
        w = torch.from_numpy(np.ascontiguousarray(fields[:, 0])).float() * self.std
        return (self.flow(w, self.time)[:, ::EVERY, ::EVERY] / self.std).numpy()

    def __getstate__(self) -> dict[str, Any]:
        """Travel to other processes without the solver's tables."""
        return {**self.__dict__, "flow": None}


@dataclass(frozen=True)
class Setting:
    """One inverse problem: a field, what is measured of it, and a prior.

    Args:
        denoiser: the prior.
        measurement: what is known.
        settings: how to recover.
        rng: all randomness; a method that moves on from another one goes on with its stream.
        found: the ensemble to move on from, of :data:`STARTS`; None where it is not at hand.
    """

    denoiser: Denoiser
    measurement: Measurement
    settings: Settings
    rng: Rng
    found: Tensor | None = None
    times: list[float] = field(init=False)

    def __post_init__(self) -> None:
        """Lay the time grid."""
        schedule = self.denoiser.schedule
        times = karras(schedule, self.settings.steps, SIGMA_MIN, FARTHEST)
        object.__setattr__(self, "times", times)

    def start(self) -> Tensor:
        """Return x_T of the ensemble."""
        shape = (self.settings.members, *self.measurement.truth.shape)
        return DDIM(self.denoiser).initial(shape, self.times, self.rng)


def prior(given: Setting) -> Iterator[Tensor]:
    """Draw from the prior: what is known without the measurement."""
    yield DPMpp2M(given.denoiser, eta=1.0).sample(given.start(), given.times, rng=given.rng)


def eki(given: Setting) -> Iterator[Tensor]:
    """Move draws of the prior, without the prior's help."""
    (x,) = prior(given)
    yield EKI(given.measurement.operator, most=20).sample(x, rng=given.rng)


def enkg(given: Setting) -> Iterator[Tensor]:
    """Guide the ensemble with the adaptive step."""
    method = EnKG(DDIM(given.denoiser), given.measurement.operator, rollout=6)
    for state in method.iterate(given.start(), given.times, rng=given.rng):
        yield state.x


def enkg_scaled(given: Setting) -> Iterator[Tensor]:
    """Guide the ensemble with the step and the strength of the paper."""
    operator = given.measurement.operator
    method = EnKG(DDIM(given.denoiser), operator, step="scaled", rollout=6)
    for state in method.iterate(given.start(), given.times, rng=given.rng):
        yield state.x


def denoised_eki(given: Setting) -> Iterator[Tensor]:
    """Move draws of the prior by Kalman updates that are denoised."""
    (x,) = prior(given)
    settings = given.settings
    method = DenoisedEKI(
        DPMpp2M(given.denoiser, eta=1.0),
        given.measurement.operator,
        levels=settings.levels,
        low=0.4,
        steps=settings.walk,
        sigma_min=SIGMA_MIN,
    )
    yield from method.iterate(x, rng=given.rng)


def waltz(given: Setting) -> Iterator[Tensor]:
    """Move on from the denoised EKI by the Waltz with a Kalman drift, whose moves are exact."""
    x = given.found
    if x is None:
        *_, x = denoised_eki(given)
    sampler = DPMpp2M(given.denoiser, eta=1.0)
    operator, settings = given.measurement.operator, given.settings
    method = KalmanWaltz(sampler, operator, steps=12, sigma_min=SIGMA_MIN, ratio=0.15)
    for chain in method.iterate(x, settings.moves, rng=given.rng):
        yield chain.x0


METHODS: dict[str, Callable[[Setting], Iterator[Tensor]]] = {
    "prior": prior,
    "EKI": eki,
    "EnKG, scaled": enkg_scaled,
    "EnKG": enkg,
    "denoised EKI": denoised_eki,
    "+ Waltz": waltz,
}
STARTS = {"+ Waltz": "denoised EKI"}  # whose ensemble a method moves on from: the same draws


def scores(members: Tensor, truth: Tensor) -> dict[str, float]:
    """Return Rel-L2 of the mean, CRPS and the ratio of spread to skill of an ensemble (J, ...)."""
    error = (members.mean(0) - truth).norm() / truth.norm()
    return {
        "rel_l2": float(error),
        "crps": crps(members[None], truth[None]),
        "ssr": spread_skill(members[None], truth[None]),
    }


def stream(seed: int, *key: int) -> Rng:
    """Return the randomness of one part of an evaluation."""
    return Rng(stream_seed(seed, *key))
