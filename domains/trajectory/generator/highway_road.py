"""The road of a highway scene: parallel lanes along a curve, sometimes with an on-ramp."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from domains.trajectory.generator.curve import STEP, Curve, bent
from domains.trajectory.road import Lane, RoadMap

WIDTH = 3.6  # metres of a lane
APART = 12.0  # metres between a ramp and its later place, where it begins
TAPER = 130.0  # metres in which it comes near
PIECE = 90.0  # metres of a lane of the map, at most
SAMPLE = 5.0  # metres between the points of a lane of the map


@dataclass(frozen=True)
class Highway:
    """Lanes beside each other, 0 the leftmost, all driven the same way.

    Args:
        curve: the middle of the main lanes.
        lanes: main lanes; a ramp is one more, on the right.
        ramp: where a ramp has come near and may be left, and where it ends; None without one.
    """

    curve: Curve
    lanes: int
    ramp: tuple[float, float] | None

    @property
    def total(self) -> int:
        """Return the number of lanes, a ramp included."""
        return self.lanes + (self.ramp is not None)

    def aside(self, lane: NDArray[np.float64], ways: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how far to the left of the curve a lane's middle lies, for a broken number too."""
        found = ((self.lanes - 1) / 2 - lane) * WIDTH
        if self.ramp is None:
            return found
        near = np.clip((ways - self.ramp[0] + TAPER) / TAPER, 0, 1)
        apart = APART * (1 - near * near * (3 - 2 * near))
        return found - apart * np.clip(lane - (self.lanes - 1), 0, 1)

    def road(self, first: float, last: float) -> RoadMap:
        """Return the map between two ways."""
        first, last = max(first, self.curve.ways[0]), min(last, self.curve.ways[-1])
        marks = [m for m in (self.ramp or ()) if first + 1 < m < last - 1]
        cuts = _cuts([first, *marks, last])
        found = [
            self._lane(lane, piece, cuts)
            for piece in range(len(cuts) - 1)
            for lane in range(self.total)
            if self._exists(lane, piece, cuts)
        ]
        return RoadMap(lanes=tuple(found))

    def _exists(self, lane: int, piece: int, cuts: list[float]) -> bool:
        inside = 0 <= piece < len(cuts) - 1 and 0 <= lane < self.total
        return inside and (lane < self.lanes or cuts[piece + 1] <= self._end)

    @property
    def _end(self) -> float:
        return self.ramp[1] + 1e-6 if self.ramp else np.inf

    def _lane(self, lane: int, piece: int, cuts: list[float]) -> Lane:
        ways = np.linspace(cuts[piece], cuts[piece + 1], 1 + round(PIECE / SAMPLE))
        middle = self.aside(np.full(len(ways), float(lane)), ways)
        centre, left, right = (
            self.curve.at(ways, middle + side)[0] for side in (0.0, WIDTH / 2, -WIDTH / 2)
        )
        ramps = self.ramp is not None and cuts[piece] < self.ramp[0] - 1e-6
        beside = [b for b in (lane - 1, lane + 1) if self._exists(b, piece, cuts)]
        if ramps:
            beside = [b for b in beside if max(b, lane) < self.lanes]

        def named(lane: int, piece: int) -> tuple[str, ...]:
            return (f"{lane}.{piece}",) if self._exists(lane, piece, cuts) else ()

        return Lane(
            f"{lane}.{piece}",
            centre,
            left,
            right,
            successors=named(lane, piece + 1),
            predecessors=named(lane, piece - 1),
            neighbours=tuple(f"{b}.{piece}" for b in beside),
        )


def _cuts(marks: list[float]) -> list[float]:
    """Return the marks, with equal pieces of at most :data:`PIECE` metres between them."""
    found = [marks[0]]
    for first, last in pairwise(marks):
        count = int(np.ceil((last - first) / PIECE))
        found += list(np.linspace(first, last, count + 1)[1:])
    return found


def drawn(rng: np.random.Generator, length: float, ramp: float | None) -> Highway:
    """Draw a highway that is straight, an arc, or an S.

    Args:
        rng: random numbers.
        length: metres before the curve's end, after way 0.
        ramp: the way where a ramp may first be left; None for no ramp.
    """
    ways = np.arange(-150.0, length, STEP)
    shape = rng.choice(["straight", "arc", "s"], p=[0.4, 0.35, 0.25])
    most = rng.choice([-1, 1]) / rng.uniform(250, 700)
    if shape == "straight":
        bend = np.zeros(len(ways))
    elif shape == "arc":
        bend = most * np.clip((ways - rng.uniform(-100, 150)) / 80, 0, 1)
    else:
        bend = most * np.sin(2 * np.pi * (ways - rng.uniform(0, 500)) / rng.uniform(400, 700))
    merge = None if ramp is None else (ramp, ramp + rng.uniform(150, 220))
    return Highway(bent(bend, ways[0]), int(rng.integers(2, 5)), merge)
