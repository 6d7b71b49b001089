"""A plan as a smooth motion: where to be, how fast, and with which acceleration, at any time."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline
from torch import Tensor


class Waypoint(NamedTuple):
    """What R plans ask for at one time, each (R, 1, 2) in metres and seconds."""

    position: Tensor
    velocity: Tensor
    acceleration: Tensor


class Path:
    """The cubic spline through the start and the steps of each plan, in double precision.

    Args:
        plans: (R, F, 2) metres; step f is (f + 1) * dt seconds after the start.
        dt: seconds between steps.
        start: (2,), where all plans begin.
        velocity: (2,), metres a second at the start.

    Raises:
        ValueError: for plans of another shape, without a step or with a NaN, or a dt that is not
            positive.
    """

    def __init__(self, plans: ArrayLike, dt: float, start: ArrayLike, velocity: ArrayLike) -> None:
        points = read_plans(plans)
        if not dt > 0:
            raise ValueError(f"dt is a positive time in seconds, got {dt}")
        first = np.broadcast_to(np.asarray(start, float), (len(points), 1, 2))
        slope = np.broadcast_to(np.asarray(velocity, float), (len(points), 2))
        times = dt * np.arange(points.shape[1] + 1)
        ends = ((1, slope), (2, np.zeros_like(slope)))
        along = np.concatenate([first, points], 1)
        self.plans = points
        self._motion = CubicSpline(times, along, axis=1, bc_type=ends)

    def at(self, t: float) -> Waypoint:
        """Return the waypoints at t seconds after the start."""
        found = (torch.from_numpy(self._motion(t, order))[:, None] for order in range(3))
        return Waypoint(*found)


def read_plans(plans: ArrayLike) -> NDArray[np.float64]:
    """Return plans as an array (R, F, 2).

    Raises:
        ValueError: for plans of another shape, without a step or with a NaN.
    """
    points = np.asarray(plans, dtype=float)
    if points.ndim != 3 or points.shape[-1] != 2 or 0 in points.shape:
        raise ValueError(
            f"plans need shape (R, F, 2) with at least one plan and one step, got {points.shape}; "
            f"a single plan is plan[None]"
        )
    if not np.isfinite(points).all():
        raise ValueError("plans have a position that is no number; mend or drop these plans")
    return points
