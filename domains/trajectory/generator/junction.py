"""The roads of a crossing scene: three or four arms, their lanes, and the ways through."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from domains.trajectory.generator.curve import STEP, Curve, bezier, through
from domains.trajectory.road import Lane, Points, RoadMap

Array = NDArray[np.float64]

WIDTH = 3.5  # metres of a lane
ARM = 110.0  # metres of road before the stop line, and after the junction
STOP = 4.5  # metres from the stop line to the junction
ZEBRA = (0.8, 3.8)  # metres from the junction to both edges of a crossing
SIDEWAYS = 2.3  # metres / second^2 in a bend
SLOWING = 1.5  # metres / second^2 before it
SLIM = 2.8  # metres between two ways, nearer than which cars would touch
SAMPLE = 4.0  # metres between the points of a straight lane of the map
TURNS = ("straight", "left", "right")


@dataclass(frozen=True)
class Movement:
    """A way through the junction; its way is 0 at the stop line, and ``inside`` where it leaves.

    Args:
        entry: arm and lane, 0 next to the middle of the road.
        exit: arm and lane.
        turn: one of :data:`TURNS`.
        curve: all of it.
        inside: metres from the stop line to the exit.
    """

    entry: tuple[int, int]
    exit: tuple[int, int]
    turn: str
    curve: Curve
    inside: float

    def limits(self) -> Array:
        """Return the speeds (n,) at the curve's points that bends allow, slowing down included."""
        bend = np.sqrt(SIDEWAYS / np.maximum(self.curve.curvature, 1e-4))
        squares = bend[::-1] ** 2 - 2 * SLOWING * STEP * np.arange(len(bend))
        lowest = np.minimum.accumulate(squares) + 2 * SLOWING * STEP * np.arange(len(bend))
        return np.sqrt(lowest)[::-1]


@dataclass(frozen=True)
class Junction:
    """Arms around the origin.

    Args:
        angles: (N,), radians, of the arms.
        lanes: in each direction of each arm.
        edge: metres from the origin to where the arms begin.
        movements: all ways through.
        zones: (M, M, 2), from where to where on a movement a car would touch one on another; NaN
            where they do not meet. Movements of one entry have none.
    """

    angles: Array
    lanes: int
    edge: float
    movements: tuple[Movement, ...]
    zones: Array

    def outward(self, arm: int) -> tuple[Points, Points]:
        """Return an arm's unit directions (2,): outward, and to the left of that."""
        return _directions(self.angles[arm])

    def at(self, arm: int, out: Array | float, left: Array | float) -> Points:
        """Return points (..., 2) on an arm, metres beyond the edge and left of its middle."""
        outward, across = self.outward(arm)
        return (self.edge + np.asarray(out))[..., None] * outward + np.asarray(left)[
            ..., None
        ] * across

    def road(self, crossings: tuple[int, ...], stops: tuple[int, ...]) -> RoadMap:
        """Return the map, with crossings and stop lines on some arms."""
        arms = range(len(self.angles))
        half = self.lanes * WIDTH
        zebras = [
            self.at(arm, np.array([*ZEBRA, *ZEBRA[::-1]]), np.array([half, half, -half, -half]))
            for arm in crossings
        ]
        lines = [self.at(arm, np.full(2, STOP), np.array([0, half])) for arm in stops]
        lanes = [x for arm in arms for k in range(self.lanes) for x in self._straights(arm, k)]
        lanes += [self._through(m) for m in self.movements]
        return RoadMap(lanes=tuple(lanes), crossings=tuple(zebras), stops=tuple(lines))

    def _straights(self, arm: int, lane: int) -> list[Lane]:
        left = (lane + 0.5) * WIDTH
        beside = [k for k in (lane - 1, lane + 1) if 0 <= k < self.lanes]
        inward = tuple(_name(m) for m in self.movements if m.entry == (arm, lane))
        outward = tuple(_name(m) for m in self.movements if m.exit == (arm, lane))
        out = np.linspace(0, ARM, 1 + round(ARM / SAMPLE))
        found = []
        for name, ways, side in (("in", STOP + out[::-1], 1), ("out", out, -1)):
            centre, first, second = (
                self.at(arm, ways, side * left + turn * WIDTH / 2 * np.ones(len(ways)))
                for turn in (0, -side, side)
            )
            found.append(
                Lane(
                    f"{name}.{arm}.{lane}",
                    centre,
                    first,
                    second,
                    successors=inward if name == "in" else (),
                    predecessors=outward if name == "out" else (),
                    neighbours=tuple(f"{name}.{arm}.{k}" for k in beside),
                )
            )
        return found

    def _through(self, movement: Movement) -> Lane:
        ways = np.linspace(0, movement.inside, 1 + int(np.ceil(movement.inside / 1.5)))
        centre, left, right = (
            movement.curve.at(ways, side)[0] for side in (0.0, WIDTH / 2, -WIDTH / 2)
        )
        return Lane(
            _name(movement),
            centre,
            left,
            right,
            successors=("out.{}.{}".format(*movement.exit),),
            predecessors=("in.{}.{}".format(*movement.entry),),
        )


def drawn(rng: np.random.Generator) -> Junction:
    """Draw a junction of four arms, or a T of three."""
    angles = np.deg2rad(np.array([0, 90, 180, 270]) + rng.uniform(-8, 8, 4))
    if rng.random() < 0.35:
        angles = np.delete(angles, rng.integers(4))
    lanes = 1 if rng.random() < 0.7 else 2
    edge = lanes * WIDTH + rng.uniform(4.5, 8.0)
    movements = tuple(_movements(angles, lanes, edge))
    return Junction(angles, lanes, edge, movements, _zones(movements))


def _movements(angles: Array, lanes: int, edge: float) -> list[Movement]:
    found = []
    for entry in range(len(angles)):
        for exit in range(len(angles)):
            if entry == exit:
                continue
            bend = np.angle(np.exp(1j * (angles[exit] - angles[entry] + np.pi)))
            turn = "straight" if abs(bend) < np.pi / 4 else "left" if bend > 0 else "right"
            used = {"straight": range(lanes), "left": [0], "right": [lanes - 1]}[turn]
            for lane in used:
                curve, inside = _curve(angles[entry], angles[exit], bend, (lane + 0.5), edge)
                found.append(Movement((entry, lane), (exit, lane), turn, curve, inside))
    return found


def _curve(entry: float, exit: float, bend: float, lane: float, edge: float) -> tuple[Curve, float]:
    (inward, left), (outward, other) = _directions(entry), _directions(exit)
    begin = (edge + STOP) * inward + lane * WIDTH * left
    first = edge * inward + lane * WIDTH * left
    last = edge * outward - lane * WIDTH * other
    apart = np.linalg.norm(last - first)
    half = max(abs(bend) / 2, 1e-3)
    reach = 4 / 3 * np.tan(half / 2) * apart / (2 * np.sin(half))
    arc = bezier(first, -inward, last, outward, reach)
    inside = STOP + np.linalg.norm(np.diff(arc, axis=0), axis=-1).sum()
    line = np.concatenate([[begin + ARM * inward], arc, [last + ARM * outward]])
    return through(line, -ARM), float(inside)


def _directions(angle: float) -> tuple[Points, Points]:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([cos, sin]), np.array([-sin, cos])


def _zones(movements: tuple[Movement, ...]) -> Array:
    ways = [np.arange(STOP - 2.0, m.inside + 3.0) for m in movements]
    points = [m.curve.at(w)[0] for m, w in zip(movements, ways, strict=True)]
    starts = np.cumsum([0, *map(len, ways)])
    touch = cdist(np.concatenate(points), np.concatenate(points)) < SLIM
    zones = np.full((len(movements), len(movements), 2), np.nan)
    for i, one in enumerate(movements):
        meets = np.logical_or.reduceat(touch[starts[i] : starts[i + 1]], starts[:-1], axis=1)
        for j, other in enumerate(movements):
            if one.entry != other.entry and meets[:, j].any():
                zones[i, j] = ways[i][meets[:, j]][[0, -1]]
    return zones


def _name(movement: Movement) -> str:
    return "{}.{}-{}.{}".format(*movement.entry, *movement.exit)
