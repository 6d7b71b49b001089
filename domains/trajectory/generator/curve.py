"""Smooth curves in the plane, driven along by way and lateral offset."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domains.trajectory.polylines import arc_lengths, resample
from domains.trajectory.road import Points

STEP = 0.5  # metres between the points of a curve


@dataclass(frozen=True)
class Curve:
    """A finely sampled curve.

    Args:
        ways: (n,), metres along the curve, increasing; they may begin below 0.
        points: (n, 2).
        headings: (n,), radians, without jumps of 2 pi.
    """

    ways: NDArray[np.float64]
    points: Points
    headings: NDArray[np.float64]

    def at(
        self, ways: NDArray[np.float64], aside: NDArray[np.float64] | float = 0.0
    ) -> tuple[Points, NDArray[np.float64]]:
        """Return points (..., 2) and headings (...) at some ways, ``aside`` metres to the left."""
        headings = np.interp(ways, self.ways, self.headings)
        on = [np.interp(ways, self.ways, self.points[:, i]) for i in range(2)]
        x, y = on[0] - aside * np.sin(headings), on[1] + aside * np.cos(headings)
        return np.stack([x, y], axis=-1), headings

    @property
    def curvature(self) -> NDArray[np.float64]:
        """Return the absolute curvature (n,), 1 / metres."""
        return np.abs(np.gradient(self.headings, self.ways))


def bent(curvature: NDArray[np.float64], start: float) -> Curve:
    """Return the curve with a given curvature (n,) at points :data:`STEP` apart.

    Args:
        curvature: 1 / metres, positive to the left.
        start: the way of its first point, which is the origin, headed along the x axis.
    """
    turned = np.cumsum((curvature[1:] + curvature[:-1]) / 2 * STEP)
    headings = np.concatenate([np.zeros(1), turned])
    middle = (headings[1:] + headings[:-1]) / 2
    moves = STEP * np.stack([np.cos(middle), np.sin(middle)], axis=-1)
    points = np.concatenate([np.zeros((1, 2)), np.cumsum(moves, axis=0)])
    return Curve(start + STEP * np.arange(len(curvature), dtype=np.float64), points, headings)


def through(line: Points, start: float) -> Curve:
    """Return the curve along a polyline (n, 2), whose first point has the way ``start``."""
    points = resample(line, 1 + int(np.ceil(arc_lengths(line)[-1] / STEP)))
    moves = np.asarray(np.gradient(points, axis=0))
    headings = np.unwrap(np.arctan2(moves[:, 1], moves[:, 0]))
    return Curve(start + arc_lengths(points), points, headings)


def bezier(first: Points, towards: Points, last: Points, away: Points, reach: float) -> Points:
    """Return a cubic Bézier curve (41, 2) from one point to another.

    Args:
        first: (2,).
        towards: (2,), unit direction at the first point.
        last: (2,).
        away: (2,), unit direction at the last point.
        reach: metres from an end to its control point.
    """
    t = np.linspace(0, 1, 41)[:, None]
    second, third = first + reach * towards, last - reach * away
    return (
        (1 - t) ** 3 * first + 3 * (1 - t) ** 2 * t * second + 3 * (1 - t) * t**2 * third
    ) + t**3 * last
