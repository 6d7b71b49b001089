"""Operators by name, as a command line gives them: ``gaussian-blur:sigma=1.5``."""

import inspect
from collections.abc import Callable, Sequence

from domains.image.operators.box import Box
from domains.image.operators.degradation import Degradation
from domains.image.operators.gaussian_blur import GaussianBlur
from domains.image.operators.inpainting import scattered
from domains.image.operators.jpeg import JPEG
from domains.image.operators.motion_blur import MotionBlur
from domains.image.operators.phase_retrieval import PhaseRetrieval
from domains.image.operators.super_resolution import SuperResolution

OPERATORS: dict[str, Callable[..., Degradation]] = {
    "inpainting": scattered,
    "box": Box,
    "super-resolution": SuperResolution,
    "gaussian-blur": GaussianBlur,
    "motion-blur": MotionBlur,
    "phase-retrieval": PhaseRetrieval,
    "jpeg": JPEG,
}


def operator_named(spec: str, shape: Sequence[int]) -> Degradation:
    """Return the operator of a specification for pictures of shape (C, H, W).

    Args:
        spec: ``name`` or ``name:option=number,option=number``; what is left out has its default.
        shape: of one picture.

    Raises:
        ValueError: for an unknown name or option, or what is no number.
    """
    name, _, given = spec.partition(":")
    if name not in OPERATORS:
        raise ValueError(f"unknown operator {name!r}; expected {', '.join(OPERATORS)}")
    options = {}
    for part in filter(None, given.split(",")):
        option, equals, text = part.partition("=")
        if not equals:
            raise ValueError(f"an option of an operator reads option=number, got {part!r}")
        options[option] = _number(name, option, text)
    return OPERATORS[name](shape, **options)


def options_of(name: str) -> dict[str, inspect.Parameter]:
    """Return the options of an operator, with their defaults."""
    taken = inspect.signature(OPERATORS[name]).parameters
    return {key: value for key, value in taken.items() if key != "shape"}


def _number(name: str, option: str, text: str) -> float:
    known = options_of(name)
    if option not in known:
        raise ValueError(f"{name} has no option {option!r}; expected {', '.join(known)}")
    whole = known[option].annotation is not float
    try:
        return int(text) if whole else float(text)
    except ValueError:
        kind = "a whole number" if whole else "a number"
        raise ValueError(f"{option} of {name} is {kind}, got {text!r}") from None
