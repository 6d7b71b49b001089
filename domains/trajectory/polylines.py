"""A map as pieces of line of one length in points, the tokens of the network."""

import numpy as np
from numpy.typing import NDArray

from domains.trajectory.road import Points, RoadMap

MAP_KINDS = ("lane", "crossing", "stop", "wall")
STRIDE = 4.0  # metres between points of a piece, at most
ROUNDING = 1e-6  # of a piece's length


def pieces(
    road: RoadMap | None, origin: Points, reach: float, points: int, most: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the nearest pieces of map about an origin, (P, points, 2), and their kinds (P,).

    Args:
        road: the map, or None.
        origin: (2,), subtracted.
        reach: metres; what lies farther from the origin is left out.
        points: of a piece.
        most: pieces.
    """
    lines = [] if road is None or most == 0 else _lines(road)
    cut = [(piece - origin, kind) for line, kind in lines for piece in _cut(line, points)]
    gaps = np.array([np.linalg.norm(piece, axis=-1).min() for piece, _ in cut])
    order = [i for i in np.argsort(gaps, kind="stable")[:most] if gaps[i] <= reach]
    found = np.array([cut[i][0] for i in order]).reshape(-1, points, 2)
    return found, np.array([cut[i][1] for i in order], dtype=np.int64)


def _lines(road: RoadMap) -> list[tuple[Points, int]]:
    closed = [np.concatenate([area, area[:1]]) for area in road.crossings]
    groups = ([lane.centre for lane in road.lanes], closed, road.stops, road.walls)
    return [(line, kind) for kind, group in enumerate(groups) for line in group]


def _cut(line: Points, points: int) -> list[Points]:
    """Return the line in pieces of equal length that share their ends.

    A closed line has two or more: a piece that ends where it starts would point nowhere. Rounding,
    as of a map that is turned, never adds a piece.
    """
    length = arc_lengths(line)[-1]
    least = 2 if np.array_equal(line[0], line[-1]) else 1
    count = max(least, int(np.ceil(length / (STRIDE * (points - 1)) - ROUNDING)))
    fine = resample(line, count * (points - 1) + 1)
    return [fine[i * (points - 1) :][:points] for i in range(count)]


def arc_lengths(line: Points) -> NDArray[np.float64]:
    """Return the way along a line (n, 2) to each of its points, (n,)."""
    return np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=-1))])


def resample(line: Points, count: int) -> Points:
    """Return ``count`` points equally far apart along a line (n, 2)."""
    way = arc_lengths(line)
    at = np.linspace(0, way[-1], count)
    return np.stack([np.interp(at, way, line[:, i]) for i in range(2)], axis=-1)
