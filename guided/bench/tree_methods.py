"""The samplers that ``guided-bench tree`` compares, by name."""

from collections.abc import Callable
from typing import NamedTuple

from guided.bench.tree_model import Models, unlabelled
from guided.denoiser import Denoiser
from guided.guidance import CFG, Between, Contrast, Term
from guided.guidance.branches import network
from guided.sampler import Sampler
from guided.samplers import Heun

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
    return heun(lambda m: Contrast(m.main, [Term(network(m.weak), w)]))


def cfg(w: float) -> Method:
    """Return the contrast with the model without a label."""
    return heun(lambda m: CFG(m.main, w, unlabelled))


def limited(w: float) -> Method:
    """Return CFG in an interval of noise levels."""
    return heun(lambda m: Between(CFG(m.main, w, unlabelled), LOW, HIGH))


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
}
