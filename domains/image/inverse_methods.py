"""Methods that recover pictures, by name; each yields the members after every step."""

from collections.abc import Callable, Iterator

from torch import Tensor

from domains.image.inversion import Inversion
from guided import DDIM, SCG, BestOfN
from guided.guidance import DPS, MPGD, SMC, TMPD, EnKG


class NotApplicable(ValueError):
    """A method cannot take this operator or this prior."""


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
    """Pull every step down the misfit, through the network.

    Raises:
        NotApplicable: for an operator without a gradient.
    """
    _require_differentiable(given, "DPS")
    return given.walk(DPS(given.ancestral, given.operator, given.settings.pull))


def tmpd(given: Inversion) -> Iterator[Tensor]:
    """Update every clean estimate by the moments of the network.

    Raises:
        NotApplicable: for an operator that is not linear, or has no gradient.
    """
    _require_linear(given, "TMPD")
    _require_differentiable(given, "TMPD")
    return given.walk(DDIM(TMPD(given.denoiser, given.operator), eta=1.0))


def mpgd(given: Inversion) -> Iterator[Tensor]:
    """Move every clean estimate down the misfit, not through the network.

    Raises:
        NotApplicable: for an operator without a gradient.
    """
    _require_differentiable(given, "MPGD")
    scale = given.settings.descent * given.measurement.noise**2
    return given.walk(DDIM(MPGD(given.denoiser, given.operator, scale)))


def exact(given: Inversion) -> Iterator[Tensor]:
    """Draw from the posterior in closed form.

    Raises:
        NotApplicable: for a prior that has none, or an operator that is not linear.
    """
    if given.prior.law is None:
        raise NotApplicable(
            "the exact posterior is known for the exact prior alone, got a trained model; choose "
            "the prior 'exact' or another method"
        )
    _require_linear(given, "the exact posterior")
    seen = given.measurement
    A = seen.degradation.matrix(seen.y.dtype)
    law, _ = given.prior.law.measured(A, seen.y.flatten(1), seen.noise)
    yield law.sample(given.settings.members, given.rng)


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


def _require_differentiable(given: Inversion, method: str) -> None:
    """Refuse an operator that is a black box.

    Raises:
        NotApplicable: in words.
    """
    if not given.operator.differentiable:
        name = type(given.measurement.degradation).__name__
        raise NotApplicable(
            f"{method} needs a differentiable operator, got {name}; use a method that takes any, "
            f"such as EnKG or SCG"
        )


def _require_linear(given: Inversion, method: str) -> None:
    """Refuse an operator that is not linear.

    Raises:
        NotApplicable: in words.
    """
    degradation = given.measurement.degradation
    if not degradation.linear:
        raise NotApplicable(
            f"{method} needs a linear operator, got {type(degradation).__name__}; use a method "
            f"that takes any, such as EnKG or SCG"
        )
