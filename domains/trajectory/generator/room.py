"""Where people walk: a square, a corridor or a crossing of corridors, with walls and exits."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domains.trajectory.road import Points, RoadMap

Array = NDArray[np.float64]

OUTSIDE = 40.0  # metres beyond an exit, where people are bound for
CLEAR = 0.9  # metres that a route keeps from obstacles and from the posts of an exit


@dataclass(frozen=True)
class Exit:
    """A gap in the walls.

    Args:
        middle: (2,).
        outward: (2,), unit direction.
        width: metres.
    """

    middle: Points
    outward: Points
    width: float

    def point(self, share: float) -> Points:
        """Return a point of the gap, for -1 to 1 from one post to the other."""
        across = np.array([-self.outward[1], self.outward[0]])
        return self.middle + share * (self.width / 2 - CLEAR) * across


@dataclass(frozen=True)
class Room:
    """A place with walls.

    Args:
        exits: where one comes from and goes to.
        walls: lines (n, 2).
        obstacles: middles (O, 2) of round ones, which are among the walls.
        radii: (O,), metres.
    """

    exits: tuple[Exit, ...]
    walls: tuple[Points, ...]
    obstacles: Array
    radii: Array

    def road(self) -> RoadMap:
        """Return the map."""
        return RoadMap(walls=self.walls)

    def segments(self) -> Array:
        """Return the walls as segments (W, 2, 2)."""
        found = np.concatenate([np.stack([w[:-1], w[1:]], axis=1) for w in self.walls])
        return found[np.linalg.norm(found[:, 1] - found[:, 0], axis=-1) > 1e-6]

    def route(self, start: Points, exit: Exit, share: float, rng: np.random.Generator) -> Points:
        """Return points (n, 2) from a start out of an exit, round obstacles on a random side."""
        end = exit.point(share)
        found, along = [start], (end - start) / (np.linalg.norm(end - start) + 1e-9)
        normal = np.array([-along[1], along[0]])
        for i in np.argsort(self.obstacles @ along):
            middle, keep = self.obstacles[i], self.radii[i] + CLEAR
            aside = float((start - middle) @ normal)
            between = 0 < (middle - start) @ along < np.linalg.norm(end - start)
            if between and abs(aside) < keep:
                left = rng.random() < 0.5 + 0.5 * aside / keep
                found.append(middle + (1 if left else -1) * (keep + 0.3) * normal)
        return np.array([*found, end, end + OUTSIDE * exit.outward])


def drawn(rng: np.random.Generator) -> Room:
    """Draw a place."""
    shape = rng.choice(["square", "corridor", "crossing"], p=[0.5, 0.25, 0.25])
    if shape == "square":
        half = rng.uniform(8, 14, 2)
        widths = rng.uniform(3.5, 6, 4)
        return _walled(rng, half, widths, rng.uniform(4, 8), int(rng.integers(0, 3)))
    wide = rng.uniform(3.5, 6.5, 2)
    if shape == "crossing":
        return _walled(rng, wide[::-1] / 2, np.tile(wide, 2), rng.uniform(14, 20), 0)
    half = np.array([rng.uniform(10, 14), wide[0] / 2])
    inner = wide[0] * (1.0 if rng.random() < 0.6 else max(0.5, 2.6 / wide[0]))
    return _walled(rng, half, np.array([inner, 0, inner, 0]), rng.uniform(6, 12), 0)


def _walled(
    rng: np.random.Generator, half: Array, widths: Array, alley: float, obstacles: int
) -> Room:
    """Return a rectangle with a gap in each side of positive width, and an alley behind it."""
    exits, walls = [], []
    sides = [np.array(s, float) for s in ((1, 0), (0, 1), (-1, 0), (0, -1))]
    line: list[Points] = []
    for outward, width in zip(sides, widths, strict=True):
        across = np.array([-outward[1], outward[0]])
        depth, reach = abs(half @ outward), abs(half @ across)
        if width > 0:
            free = max(0.0, reach - width / 2 - 0.5)
            middle = depth * outward + rng.uniform(-free, free) * across
            exits.append(Exit(middle, outward, float(width)))
            first, last = middle - width / 2 * across, middle + width / 2 * across
            line += [first, first + alley * outward]
            walls.append(line)
            line = [last + alley * outward, last]
        line.append(depth * outward + reach * across)
    walls[0] = line + walls[0]
    middles = rng.uniform(-0.35, 0.35, (obstacles, 2)) * half
    if obstacles == 2:
        middles[1] = -middles[0]
        middles[:, 0] += np.array([1, -1]) * 2.5 * np.sign(middles[0, 0])
    radii = rng.uniform(0.8, 1.8, obstacles)
    rounds = [m + r * _circle() for m, r in zip(middles, radii, strict=True)]
    lines = tuple(np.array(w) for w in walls)
    return Room(tuple(exits), (*lines, *rounds), middles, radii)


def _circle() -> Points:
    angles = np.linspace(0, 2 * np.pi, 13)
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1)
