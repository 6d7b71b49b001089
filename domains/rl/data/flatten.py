"""Observations of a Gymnasium environment as vectors: one, many at a time, or a whole episode."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

Shapes = tuple[tuple[int, ...], ...]


def layout(
    space: Any, keys: Sequence[str] | None = None
) -> tuple[int, tuple[str, ...] | None, Shapes]:
    """Return size, keys and shapes of the observations of a space, as :func:`flatten` takes them.

    Args:
        space: a Gymnasium space: a Box, or a Dict of Boxes.
        keys: entries of a Dict, in the order of flattening. None is all but ``achieved_goal``,
            sorted, with ``observation`` first: in the goal environments of gymnasium-robotics the
            achieved goal repeats a part of the observation.

    Raises:
        ValueError: for another space, or keys that it does not have.
    """
    from gymnasium import spaces

    if not isinstance(space, spaces.Dict):
        if keys is not None:
            raise ValueError(f"keys are for Dict observations, got keys {keys} for {space}")
        return prod(_box(space, "observations").shape), None, (tuple(space.shape),)
    if keys is None:
        left = sorted(space.keys() - {"achieved_goal", "observation"})
        keys = ["observation", *left] if "observation" in space.keys() else left
    if missing := [key for key in keys if key not in space.keys()]:
        raise ValueError(f"observations have no entries {missing}; choose from {sorted(space)}")
    if not keys:
        raise ValueError(f"no entry of the observations {sorted(space)} is left; name some")
    shapes = tuple(tuple(_box(space[key], f"entry {key!r}").shape) for key in keys)
    return sum(map(prod, shapes)), tuple(keys), shapes


def flatten(
    observation: Any,
    size: int,
    keys: Sequence[str] | None = None,
    shapes: Shapes | None = None,
) -> np.ndarray:
    """Return observations as vectors (..., S) in float32; no copy of what is that already.

    Args:
        observation: an array (..., *shape), or a mapping of such arrays; the axes in front are
            none for one observation, and environments or time for many.
        size: S, the number of entries of the result.
        keys: entries of the mapping, in the order of the result; None = an array.
        shapes: of each entry (of the array, if there are no keys); None = all have one axis.

    Raises:
        ValueError: for observations of another shape.
    """
    if keys is None:
        return _vectors(observation, shapes[0] if shapes else (size,), "observation")
    if not isinstance(observation, Mapping):
        raise ValueError(
            f"got an observation of the type {type(observation).__name__}, expected a mapping with "
            f"the entries {', '.join(keys)}"
        )
    if missing := [key for key in keys if key not in observation]:
        raise ValueError(
            f"got an observation with the entries {sorted(observation)}, expected {list(keys)}; "
            f"{', '.join(missing)} is missing"
        )
    parts = [
        _vectors(observation[key], shapes[i] if shapes else None, f"entry {key!r}")
        for i, key in enumerate(keys)
    ]
    if any(part.shape[:-1] != parts[0].shape[:-1] for part in parts):
        got = {key: np.shape(observation[key]) for key in keys}
        raise ValueError(f"got entries of different batches {got}, expected the same axes in front")
    result = np.concatenate(parts, axis=-1)
    if result.shape[-1] != size:
        raise ValueError(f"got an observation of {result.shape[-1]} numbers, expected {size}")
    return result


def _vectors(values: Any, shape: tuple[int, ...] | None, name: str) -> np.ndarray:
    """Return an array (..., *shape) as vectors; the shape None is any of one axis."""
    try:
        array = np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError):
        raise ValueError(
            f"got an {name} of the type {type(values).__name__}, expected an array of numbers"
        ) from None
    if shape is None:
        shape = array.shape[-1:] or (1,)
    lead = array.ndim - len(shape)
    if lead < 0 or array.shape[lead:] != shape:
        wanted = ", ".join(map(str, shape))
        raise ValueError(f"got an {name} of the shape {array.shape}, expected (..., {wanted})")
    if len(shape) == 1:
        return array
    return array.reshape(*array.shape[:lead], prod(shape))


def _box(space: Any, name: str) -> Any:
    from gymnasium import spaces

    if not isinstance(space, spaces.Box):
        raise ValueError(f"{name} must be Box spaces (arrays of numbers), got {space}")
    return space
