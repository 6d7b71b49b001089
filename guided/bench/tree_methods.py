"""The samplers that ``guided-bench tree`` compares, by name."""

import math
from collections.abc import Callable
from typing import NamedTuple

from guided.bench.tree_model import Models, unlabelled
from guided.denoiser import Denoiser
from guided.guidance import (
    APG,
    CFG,
    ICG,
    AdaptiveGuidance,
    Autoguidance,
    Between,
    CFGpp,
    random_class,
)
from guided.sampler import Sampler
from guided.samplers import DDIM, DPMpp2M, Heun

ONE_CALL = 47  # steps with one call each cost what 24 of Heun do
LOW, HIGH = 0.01, 0.2  # noise levels of the interval, in units of the plane


class Method(NamedTuple):
    """One row of the table.

    Args:
        make: the sampler, given the models.
        steps: of its run; Heun's cost two calls each, but the last.
    """

    make: Callable[[Models], Sampler]
    steps: int = 24


def heun(make: Callable[[Models], Denoiser]) -> Method:
    """Return Heun's sampler around a denoiser."""
    return Method(lambda models: Heun(make(models)))


def autoguidance(w: float) -> Method:
    """Return the contrast with the weak model of the same label."""
    return heun(lambda m: Autoguidance(m.main, m.weak, w))


def cfg(w: float) -> Method:
    """Return the contrast with the model without a label."""
    return heun(lambda m: CFG(m.main, w, unlabelled))


def limited(w: float) -> Method:
    """Return CFG in an interval of noise levels."""
    return heun(lambda m: Between(CFG(m.main, w, unlabelled), LOW, HIGH))


def projected(w: float, eta: float, radius: float) -> Method:
    """Return APG; the radius is a root mean square in units of the plane."""
    return heun(lambda m: APG(m.main, w, unlabelled, eta, radius))


def plus_plus(scale: float, steps: int) -> Method:
    """Return CFG++, which is of DDIM."""
    return Method(lambda m: DDIM(CFGpp(m.main, scale, unlabelled)), steps)


def two_step(w: float) -> Method:
    """Return CFG in a sampler of one prediction a step, which is what AG is compared with."""
    return Method(lambda m: DPMpp2M(CFG(m.main, w, unlabelled)), ONE_CALL)


def adaptive(w: float, threshold: float) -> Method:
    """Return CFG that ends, sample by sample, where both noise estimates agree."""
    return Method(
        lambda m: AdaptiveGuidance(DPMpp2M(CFG(m.main, w, unlabelled)), threshold), ONE_CALL
    )


def independent(w: float) -> Method:
    """Return ICG with a random one of the two labels."""
    return heun(lambda m: ICG(m.main, w, random_class(2)))


METHODS: dict[str, Method] = {
    "exact scores": heun(lambda m: m.exact),
    "unguided": heun(lambda m: m.main),
    "autoguidance 1.5": autoguidance(1.5),
    "autoguidance 2": autoguidance(2.0),
    "autoguidance 3": autoguidance(3.0),
    "CFG 2": cfg(2.0),
    "CFG 4": cfg(4.0),
    "CFG 2, interval": limited(2.0),
    "CFG 4, interval": limited(4.0),
    "CFG 2, equal blur": heun(lambda m: CFG(m.even, 2.0, unlabelled)),
    "CFG 4, equal blur": heun(lambda m: CFG(m.even, 4.0, unlabelled)),
    "CFG 4, exact scores": heun(lambda m: CFG(m.exact, 4.0, unlabelled)),
    "APG 4, eta 0": projected(4.0, 0.0, math.inf),
    "APG 4, eta 0, r 0.05": projected(4.0, 0.0, 0.05),
    "APG 4, eta 1, r 0.05": projected(4.0, 1.0, 0.05),
    "CFG++ 0.3, 24 steps": plus_plus(0.3, 24),
    "CFG++ 0.3, 48 steps": plus_plus(0.3, 48),
    "CFG 4, DPM++ 2M": two_step(4.0),
    "AG 4, cosine 0.99": adaptive(4.0, 0.99),
    "AG 4, cosine 0.9999": adaptive(4.0, 0.9999),
    "ICG 1.5": independent(1.5),
    "ICG 4": independent(4.0),
}
PICTURED = (
    "unguided",
    "autoguidance 3",
    "CFG 4, exact scores",
    "CFG 4",
    "CFG 4, equal blur",
    "CFG 4, interval",
    "APG 4, eta 0, r 0.05",
    "CFG++ 0.3, 48 steps",
    "AG 4, cosine 0.9999",
    "ICG 1.5",
    "ICG 4",
)
"""Those that a picture has room for."""
