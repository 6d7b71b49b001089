"""Scenes of a junction: cars turn and yield, people cross."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domains.trajectory.generator import junction as junctions
from domains.trajectory.generator import walkers as people
from domains.trajectory.generator.clock import TICK, Clock
from domains.trajectory.generator.idm import FREE, Array, Drivers, advance
from domains.trajectory.generator.idm import drawn as draw_drivers
from domains.trajectory.generator.junction import ARM, WIDTH, ZEBRA, Junction
from domains.trajectory.generator.lane_change import follow
from domains.trajectory.generator.right_of_way import RULES, Rule, Turns
from domains.trajectory.generator.tracks import Tracks
from domains.trajectory.generator.walkers import Walkers

WARM = 3.0  # seconds before the first recorded step
ATTENTION = 0.5  # seconds, in which drivers take up the speed that a bend allows
HARD = 4.0  # metres / second^2, the most that they brake for a bend
FORK = 8.0  # metres after the stop line, from where on cars of one lane part
MERGE = 5.0  # metres before the exit, from where on cars count as on it
SHARES = {"straight": 0.45, "left": 0.3, "right": 0.25}


@dataclass
class Cars:
    """A cars at a junction, moved on tick by tick.

    Args:
        drivers: A.
        turns: who may go.
        ways: (A,), 0 at the stop line.
        speeds: (A,).
    """

    drivers: Drivers
    turns: Turns
    ways: Array
    speeds: Array

    def __post_init__(self) -> None:
        all = self.turns.junction.movements
        taken = [all[m] for m in self.turns.movement]
        self.inside = np.array([m.inside for m in taken])
        self.exit_arm = np.array([m.exit[0] for m in taken])
        self.exit = np.array([10 * m.exit[0] + m.exit[1] for m in taken])
        self.lane = np.array([m.exit[1] for m in taken])
        limits = {m: all[m].limits() for m in np.unique(self.turns.movement)}
        size = min(map(len, limits.values()))
        self.limits = np.stack([limits[m][:size] for m in self.turns.movement])
        self.apart = _Apart(self.turns, self.inside, self.exit)
        self.speeds = np.minimum(self.speeds, self.limit())

    def step(self, time: float, walkers: Walkers) -> None:
        """Move everybody on by one tick."""
        self.turns.update(time, self.ways, self.speeds)
        push = np.minimum(
            self.drivers.free(self.speeds, self.drivers.desired),
            np.maximum((self.limit() - self.speeds) / ATTENTION, -HARD),
        )
        leader, apart = self.apart(self.ways)
        rows = np.arange(len(self.ways))
        ahead = follow(self.drivers, rows, leader, apart, self.speeds)
        stop = np.minimum(self.turns.obstacles(self.ways, self.speeds), self._zebras(walkers))
        wait = self.drivers.interaction(self.speeds, np.minimum(stop, FREE), self.speeds)
        push = push + np.minimum(ahead, wait)
        self.ways, self.speeds = advance(self.ways, self.speeds, push, TICK)

    def limit(self) -> Array:
        """Return the speeds that the bends ahead allow, (A,)."""
        at = ((self.ways + ARM) / junctions.STEP).astype(int)
        return self.limits[np.arange(len(at)), np.clip(at, 0, self.limits.shape[1] - 1)]

    def zebras(self) -> tuple[Array, NDArray[np.int64]]:
        """Return the metres to the next crossing of each car (A,), and its arm (A,)."""
        first = junctions.STOP - ZEBRA[1] - self.ways - self.drivers.lengths / 2
        second = self.inside + ZEBRA[0] - self.ways - self.drivers.lengths / 2
        entering = first > -7.0
        return np.where(entering, first, second), np.where(entering, self.turns.arm, self.exit_arm)

    def _zebras(self, walkers: Walkers) -> Array:
        """Return how far it is to where people make each car wait, (A,), inf for nowhere."""
        found = np.full(len(self.ways), np.inf)
        if not walkers.crosses.any():
            return found
        half = self.drivers.lengths / 2
        entry_lane = self.turns.entry % 10
        for car, way in enumerate(self.ways):
            for to, arm, lane, side in (
                (junctions.STOP - ZEBRA[1], self.turns.arm[car], entry_lane[car], 1),
                (self.inside[car] + ZEBRA[0], self.exit_arm[car], self.lane[car], -1),
            ):
                gap = to - way - half[car]
                low, high = sorted((side * lane * WIDTH, side * (lane + 1) * WIDTH))
                if -0.5 < gap < 60 and walkers.blocks(arm, low, high):
                    found[car] = min(found[car], gap + 0.5)
        return found


@dataclass(frozen=True)
class _Apart:
    """Who drives ahead of each car, on its entry or its exit, and how far."""

    turns: Turns
    inside: Array
    exit: NDArray[np.int64]

    def __call__(self, ways: Array) -> tuple[NDArray[np.int64], Array]:
        same = self.turns.movement[:, None] == self.turns.movement
        entry = self.turns.entry[:, None] == self.turns.entry
        exit = (self.exit[:, None] == self.exit) & ~same
        apart, left = ways - ways[:, None], ways - self.inside
        beyond = left - left[:, None]
        on_entry = (same | (entry & (ways < FORK))) & (apart > 0)
        on_exit = exit & (left > -MERGE) & (beyond > 0)
        found = np.where(on_entry, apart, FREE)
        found = np.minimum(found, np.where(on_exit, beyond, FREE))
        leader = found.argmin(-1)
        return leader, found[np.arange(len(ways)), leader]


def simulate(clock: Clock, rng: np.random.Generator) -> Tracks:
    """Return a scene of a junction."""
    junction = junctions.drawn(rng)
    crowd = int(rng.integers(1, 5)) if rng.random() < 0.6 else 0
    count = int(rng.integers(4, 13 - crowd))
    walkers = people.drawn(rng, junction, crowd, clock.present)
    rule = _rule(rng, junction, clock)
    cars = _cars(rng, junction, rule, count, clock)
    ways, walks = [], []
    for tick in range(clock.ticks):
        ways.append(cars.ways)
        walks.append(walkers.positions())
        closed = rule.open(tick * TICK) & (rule.name == "signal")
        before, arms = cars.zebras()
        walkers.step(TICK, walkers.may_cross(before, cars.speeds, arms, closed))
        cars.step(tick * TICK, walkers)
    along = np.stack(ways, axis=1)[:, clock.recorded]
    return _tracks(cars, along, walkers, np.stack(walks, axis=1)[:, clock.recorded], rule)


def _tracks(cars: Cars, along: Array, walkers: Walkers, walks: Array, rule: Rule) -> Tracks:
    junction = cars.turns.junction
    moved = [
        junction.movements[m].curve.at(w) for m, w in zip(cars.turns.movement, along, strict=True)
    ]
    turned = np.repeat(walkers.headings()[:, None], along.shape[1], axis=1)
    arms = range(len(junction.angles))
    zebras = tuple(arms) if len(walks) else ()
    stops = [a for a in arms if rule.name != "main" or not rule.main[a]]
    inside = (along >= -ARM) & (along <= (cars.inside + ARM)[:, None])
    return Tracks(
        kinds=("vehicle",) * len(along) + ("pedestrian",) * len(walks),
        positions=np.concatenate([np.array([p for p, _ in moved]), walks]),
        headings=np.concatenate([np.array([h for _, h in moved]), turned]),
        valid=np.concatenate([inside, np.ones(walks.shape[:2], dtype=bool)]),
        road=junction.road(zebras, tuple(stops)),
        window=(25.0, 50.0),
    )


def _rule(rng: np.random.Generator, junction: Junction, clock: Clock) -> Rule:
    name = str(rng.choice(RULES, p=[0.25, 0.35, 0.1, 0.3]))
    axis = np.abs(np.cos(junction.angles)) > 0.7
    main = axis if rng.random() < 0.5 else ~axis
    if name == "signal":
        return Rule(name, main, clock.present + rng.uniform(-4, 6))
    return Rule(name, main)


def _cars(
    rng: np.random.Generator, junction: Junction, rule: Rule, count: int, clock: Clock
) -> Cars:
    ways_through = junction.movements
    weights = np.array([SHARES[m.turn] for m in ways_through])
    movement = rng.choice(len(ways_through), count, p=weights / weights.sum())
    pace = rng.uniform(8, 13.5)
    drivers = draw_drivers(rng, np.clip(pace * rng.normal(1.0, 0.08, count), 6, 14))
    entry = np.array([10 * ways_through[m].entry[0] + ways_through[m].entry[1] for m in movement])
    ways, speeds = np.zeros(count), drivers.desired * rng.uniform(0.8, 1.0, count)
    for lane in np.unique(entry):
        cars = np.flatnonzero(entry == lane)
        spaces = 7 + speeds[cars] * (0.8 + rng.exponential(0.6, len(cars)))
        ways[cars] = (
            -rng.uniform(25, 30 + 0.5 * pace * clock.present) - np.cumsum(spaces) + spaces[0]
        )
    none = np.zeros((count, count), dtype=bool)
    turns = Turns(junction, rule, movement, drivers.lengths, np.zeros(count, bool), none)
    return Cars(drivers, turns, ways, speeds)
