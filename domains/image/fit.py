"""Whether models, classifiers and data are of the same pictures and classes."""

from collections.abc import Sequence
from typing import NamedTuple


class Kind(NamedTuple):
    """What pictures something is for.

    Args:
        shape: of a picture, (C, H, W).
        names: of the classes; empty without labels.
    """

    shape: Sequence[int]
    names: Sequence[str]

    def __str__(self) -> str:
        """Return the kind in words."""
        classes = f"the classes {', '.join(self.names)}" if self.names else "no classes"
        return f"pictures {tuple(self.shape)} with {classes}"


def fits(one: Kind, other: Kind) -> bool:
    """Tell whether both are for the same pictures and classes."""
    return tuple(map(tuple, one)) == tuple(map(tuple, other))


def require_fit(name: str, one: Kind, whole: str, other: Kind) -> None:
    """Refuse what is for other pictures or classes.

    Args:
        name: of what may not fit.
        one: its kind.
        whole: name of what it has to fit.
        other: the kind of that.

    Raises:
        ValueError: that names both.
    """
    if not fits(one, other):
        raise ValueError(f"{name} is for {one}, but {whole} for {other}; give two that agree")
