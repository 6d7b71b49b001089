"""What methods need that evaluate the branches of a contrast on their own, once a step."""

from torch import Tensor

from guided.guidance.branches import Following, Weak
from guided.guidance.denoise.contrast import Contrast, Term, require_plain
from guided.sampler import Sampler
from guided.schedule import Level


def require_contrast(method: str, sampler: Sampler) -> tuple[Contrast, Term, Weak]:
    """Return the contrast inside a sampler, its one term, and what makes the weak branch.

    Raises:
        TypeError: for a sampler of another denoiser, or of a contrast with several terms, or one
            whose weak branch does not start from the call of the strong one, or that predicts or
            combines in its own way.
    """
    contrast = sampler.denoiser
    if not isinstance(contrast, Contrast):
        raise TypeError(
            f"{method} needs the two branches of a contrast, got a sampler of "
            f"{type(contrast).__name__}; put the contrast right inside the sampler, e.g. "
            f"{method}(DDIM(CFG(denoiser, ...)), ...), and an interval of levels into its scale, "
            f"e.g. guided.guidance.scale.interval(2.0, low, high)"
        )
    require_plain(contrast, method)
    term = contrast.terms[0]
    if len(contrast.terms) > 1:
        raise TypeError(
            f"{method} needs a contrast with one weak branch, got {len(contrast.terms)} terms; "
            f"use one, such as CFG"
        )
    if isinstance(term.weak, Following) or term.strong or contrast.strong:
        raise TypeError(
            f"{method} needs a weak branch that is made of the strong call alone, got "
            f"{type(contrast).__name__}, whose branches depend on each other; use CFG"
        )
    return contrast, term, term.weak


def require_one_prediction(method: str, sampler: Sampler) -> None:
    """Refuse a sampler that predicts at other points than where its step starts.

    Raises:
        TypeError: in words.
    """
    if type(sampler).step is not Sampler.step:
        raise TypeError(
            f"{method} changes the one prediction of a step and needs a plain sampler, such as "
            f"DDIM or DPMpp2M, got {type(sampler).__name__}, which makes its own"
        )


def require_weight(contrast: Contrast, level: Level, method: str) -> float | Tensor:
    """Return the weight of the one term of a contrast.

    Raises:
        ValueError: where it is neutral, so that there is no weak branch.
    """
    active = contrast.active(level)
    if not active:
        raise ValueError(
            f"{method} needs both branches in every step up to the last one that it foretells, but "
            f"the scale is 1 at t={level.t:.4g}; use a scale that does not switch the contrast off"
        )
    return active[0][1]
