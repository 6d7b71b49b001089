"""Highway scenes: cars follow each other and change lanes on 2 to 4 lanes, some from a ramp."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from domains.trajectory.generator import highway_road
from domains.trajectory.generator.clock import TICK, Clock
from domains.trajectory.generator.highway_road import Highway
from domains.trajectory.generator.idm import FREE, Array, Drivers, advance
from domains.trajectory.generator.idm import drawn as draw_drivers
from domains.trajectory.generator.lane_change import THRESHOLD, ahead, follow, gains
from domains.trajectory.generator.tracks import Tracks

WARM = 4.0  # seconds before the first recorded step
PACES = ((9.0, 14.0), (15.0, 22.0), (23.0, 31.0))  # metres a second, dense to free traffic
FASTEST = 36.0
THINK = 5  # ticks between two thoughts of a lane change
WISH = 2.0  # metres a second squared, what a planned change is worth, or leaving a ramp


@dataclass
class Traffic:
    """A cars on a highway, moved on tick by tick.

    Args:
        road: where.
        drivers: A.
        ways: (A,).
        speeds: (A,).
        lane: (A,), where they are or go to.
        wishes: (A, 2), from when on a driver wishes to change, and to which side: -1 left, 1 right.
        slow: (A, 3), from when to when a driver goes slower, and by which factor.
        takes: (A,), seconds that a change takes.
    """

    road: Highway
    drivers: Drivers
    ways: Array
    speeds: Array
    lane: NDArray[np.int64]
    wishes: Array
    slow: Array
    takes: Array
    source: NDArray[np.int64] = field(init=False)  # the lane that a car comes from
    begun: Array = field(init=False)  # when its last change began

    def __post_init__(self) -> None:
        self.source = self.lane.copy()
        self.begun = np.full(len(self.lane), -np.inf)

    def across(self, time: float) -> Array:
        """Return the lane of each car as a broken number, (A,)."""
        done = np.clip((time - self.begun) / self.takes, 0, 1)
        smooth = done**3 * (10 - 15 * done + 6 * done**2)
        return self.source + (self.lane - self.source) * smooth

    def step(self, tick: int, rng: np.random.Generator) -> None:
        """Move everybody on by one tick."""
        time = tick * TICK
        on = self._on(time)
        if tick % THINK == 0:
            self._change(time, on, rng)
            on = self._on(time)
        self.ways, self.speeds = advance(self.ways, self.speeds, self._pushes(time, on), TICK)

    def _on(self, time: float) -> NDArray[np.bool_]:
        lanes = np.arange(self.road.total)
        changing = time < self.begun + 0.8 * self.takes
        return (self.lane[:, None] == lanes) | ((self.source[:, None] == lanes) & changing[:, None])

    def _pushes(self, time: float, on: NDArray[np.bool_]) -> Array:
        slow = (self.slow[:, 0] <= time) & (time < self.slow[:, 1])
        desired = self.drivers.desired * np.where(slow, self.slow[:, 2], 1.0)
        other = ~np.eye(len(self.ways), dtype=bool)
        leader, apart = ahead(self.ways, (on[:, None] & on[None]).any(-1) & other)
        cost = follow(self.drivers, np.arange(len(self.ways)), leader, apart, self.speeds)
        return self.drivers.free(self.speeds, desired) + np.minimum(cost, self._ramp_end(on))

    def _ramp_end(self, on: NDArray[np.bool_]) -> Array:
        if self.road.ramp is None:
            return np.zeros(len(self.ways))
        left = self.road.ramp[1] - self.ways - self.drivers.lengths / 2
        cost = self.drivers.interaction(self.speeds, np.maximum(left, 0.1), self.speeds)
        return np.where(on[:, -1] & (self.lane == self.road.lanes), cost, 0.0)

    def _change(self, time: float, on: NDArray[np.bool_], rng: np.random.Generator) -> None:
        """Let the one driver change whom it helps most, if anyone."""
        free = time >= self.begun + self.takes + 1.0
        best, who, side = THRESHOLD, -1, 0
        for turn in (-1, 1):
            to = self.lane + turn
            allowed = free & (to >= 0) & (to < self.road.lanes) & self._near()
            if not allowed.any():
                continue
            inside = np.clip(to, 0, self.road.total - 1)
            gain = gains(self.drivers, self.ways, self.speeds, on, self.lane, inside)
            gain = np.where(allowed, gain + self._wished(time, turn), -np.inf)
            if gain.max() > best:
                best, who, side = gain.max(), int(gain.argmax()), turn
        if who >= 0 and rng.random() < 0.5:
            self.source[who], self.begun[who] = self.lane[who], time
            self.lane[who] += side

    def _near(self) -> NDArray[np.bool_]:
        """Return who is not on a ramp that is still apart."""
        ramp = self.road.ramp
        return (self.lane < self.road.lanes) | (self.ways > (ramp[0] if ramp else FREE))

    def _wished(self, time: float, turn: int) -> Array:
        wished = (self.wishes[:, 0] <= time) & (self.wishes[:, 1] == turn) & (self.begun < 0)
        merges = (self.lane == self.road.lanes) & (turn < 0)
        return WISH * (wished | merges)


def simulate(clock: Clock, rng: np.random.Generator) -> Tracks:
    """Return a highway scene."""
    traffic = _drawn(clock, rng)
    ways, across = [], []
    for tick in range(clock.ticks):
        ways.append(traffic.ways)
        across.append(traffic.across(tick * TICK))
        traffic.step(tick, rng)
    along, lane = np.stack(ways, axis=1), np.stack(across, axis=1)
    aside = traffic.road.aside(lane, along)
    drift = np.gradient(aside, axis=1), np.maximum(np.gradient(along, axis=1), 1e-3)
    positions, headings = traffic.road.curve.at(along, aside)
    at = clock.recorded
    return Tracks(
        kinds=("vehicle",) * len(along),
        positions=positions[:, at],
        headings=(headings + np.arctan2(*drift))[:, at],
        valid=np.ones((len(along), len(at)), dtype=bool),
        road=traffic.road.road(along[:, at].min() - 40, along[:, at].max() + 60),
        window=(60.0, 110.0),
    )


def _drawn(clock: Clock, rng: np.random.Generator) -> Traffic:
    pace = rng.uniform(*PACES[rng.integers(len(PACES))])
    cars = int(rng.integers(4, 13))
    ramp = rng.random() < 0.3
    merge = pace * 0.8 * clock.present - rng.uniform(0, 60) if ramp else None
    road = highway_road.drawn(rng, 420 + 1.25 * FASTEST * clock.end, merge)
    lane = rng.permutation(np.arange(cars) % road.total)
    faster = 1.08 - 0.16 * lane / max(road.lanes - 1, 1)
    factor = np.clip(rng.normal(1.0, 0.14, cars), 0.7, 1.3)
    drivers = draw_drivers(rng, np.minimum(pace * faster * factor, FASTEST))
    speeds = pace * faster * rng.uniform(0.9, 1.0, cars)
    begins = rng.uniform(0, clock.end, cars)
    slows = rng.random(cars) < 0.15
    return Traffic(
        road=road,
        drivers=drivers,
        ways=_placed(rng, road, lane, speeds),
        speeds=speeds,
        lane=lane,
        wishes=np.stack(
            [
                np.where(rng.random(cars) < 0.25, rng.uniform(0, clock.end, cars), np.inf),
                rng.choice([-1, 1], cars),
            ],
            axis=-1,
        ),
        slow=np.stack(
            [
                np.where(slows, begins, np.inf),
                begins + rng.uniform(2, 6, cars),
                rng.uniform(0.4, 0.8, cars),
            ],
            axis=-1,
        ),
        takes=rng.uniform(3.0, 5.0, cars),
    )


def _placed(
    rng: np.random.Generator, road: Highway, lane: NDArray[np.int64], speeds: Array
) -> Array:
    """Return ways with a fair headway between the cars of a lane; a ramp's cars begin behind."""
    ways = np.zeros(len(lane))
    for one in range(road.total):
        cars = np.flatnonzero(lane == one)
        spaces = 8 + speeds[cars] * (1.0 + rng.exponential(0.7, len(cars)))
        ways[cars] = rng.uniform(-30, 40) + np.cumsum(spaces)
    return ways
