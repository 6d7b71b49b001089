"""Normalised scores: 0 is a random policy's return, 100 an expert's, as D4RL prints them."""

from collections.abc import Mapping
from typing import Any, TypeVar, overload

import numpy as np
from torch import Tensor

from domains.rl.data.d4rl import published

Returns = TypeVar("Returns", float, np.ndarray, Tensor)
Reference = tuple[float, float]


def reference(name: str, about: Mapping[str, Any]) -> Reference | None:
    """Return the returns that count as 0 and 1: the data set's own, else D4RL's, else None.

    Args:
        name: of the data set.
        about: its Minari metadata, which may hold ``ref_min_score`` and ``ref_max_score``.

    Raises:
        ValueError: for scores that are no numbers.
    """
    low, high = about.get("ref_min_score"), about.get("ref_max_score")
    if low is None or high is None:
        return published(name)
    if not (isinstance(low, int | float) and isinstance(high, int | float)):
        raise ValueError(
            f"the metadata of {name} have ref_min_score {low!r} and ref_max_score {high!r}, "
            f"expected numbers; correct them, or leave them out"
        )
    if not low < high:
        return published(name)
    return float(low), float(high)


@overload
def normalised_score(returns: Returns, reference: Reference) -> Returns: ...
@overload
def normalised_score(returns: Returns, reference: None) -> None: ...
@overload
def normalised_score(returns: Returns, reference: Reference | None) -> Returns | None: ...


def normalised_score(returns: Returns, reference: Reference | None) -> Returns | None:
    """Return 100 (r - min) / (max - min); None where there is no reference.

    Args:
        returns: undiscounted returns of episodes, a number or any shape.
        reference: (min, max), e.g. :attr:`domains.rl.data.offline.OfflineData.reference`.

    Source: Fu, Kumar, Nachum, Tucker, Levine (2020), D4RL, https://arxiv.org/abs/2004.07219
    """
    if reference is None:
        return None
    low, high = reference
    return 100 * (returns - low) / (high - low)
