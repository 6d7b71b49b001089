"""What every metric asks of its inputs, so that no figure hides a broken forecast."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


def checked_worlds(worlds: ArrayLike) -> Array:
    """Return worlds (K, N, F, 2) in double precision.

    Raises:
        ValueError: for another shape, an axis of length 0, or a coordinate that is no number.
    """
    found = np.asarray(worlds, dtype=np.float64)
    if found.ndim != 4 or found.shape[-1] != 2 or 0 in found.shape:
        raise ValueError(
            f"worlds need shape (K, N, F, 2) with at least one world, agent and step, got "
            f"{found.shape}; stack the forecasts so"
        )
    broken = ~np.isfinite(found).all((-1, -2))
    for world, agent in np.argwhere(broken)[:1]:
        raise ValueError(
            f"world {world} has a coordinate of agent {agent} that is no number; mend the "
            f"forecast, or leave the agent out"
        )
    return found


def checked_truth(truth: ArrayLike, worlds: Array) -> Array:
    """Return the truth (N, F, 2) of some worlds (K, N, F, 2) in double precision.

    Raises:
        ValueError: for another shape, an infinite coordinate, or a truth that is NaN everywhere.
    """
    found = np.asarray(truth, dtype=np.float64)
    if found.shape != worlds.shape[1:]:
        raise ValueError(
            f"the truth of worlds {worlds.shape} needs shape {worlds.shape[1:]}, got "
            f"{found.shape}; give both the same agents and steps"
        )
    if np.isinf(found).any():
        raise ValueError("the truth has an infinite coordinate; write NaN where nobody was seen")
    if not seen(found).any():
        raise ValueError(
            f"none of the {len(found)} agents was seen after now, so there is nothing to compare "
            f"with; choose a scene or a step with a future"
        )
    return found


def seen(truth: Array) -> Mask:
    """Return at which steps agents were seen, (N, F), of a truth that is NaN elsewhere."""
    return ~np.isnan(truth[..., 0]) & ~np.isnan(truth[..., 1])


def require_step(step: int, steps: int) -> None:
    """Refuse an index that is none of so many steps.

    Raises:
        ValueError: below 0 or not below ``steps``.
    """
    if not 0 <= step < steps:
        raise ValueError(
            f"step is an index from 0 to {steps - 1} into the forecast, got {step}; step f is "
            f"(f + 1) * dt seconds after now"
        )


def require_positive(name: str, value: float) -> None:
    """Refuse a quantity that makes no sense unless positive.

    Raises:
        ValueError: for zero, less, or NaN.
    """
    if not value > 0:
        raise ValueError(f"{name} is a positive number, got {value}; choose another")
