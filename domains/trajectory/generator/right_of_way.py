"""Who goes first at a junction: drivers wait at the stop line until they may go."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domains.trajectory.generator.idm import Array
from domains.trajectory.generator.junction import Junction

RULES = ("first", "main", "stop", "signal")
AMBER = 3.0  # seconds
SURE = 1.0  # seconds between two cars at one place
LOOK = 5.0  # seconds before the stop line that drivers decide
CREEP = 3.0  # metres a second, the least that is expected of others
GO = 4.5  # metres a second, expected of oneself from a stand


@dataclass(frozen=True)
class Rule:
    """The rule of a junction.

    Args:
        name: of :data:`RULES`: who comes first, a main road, all stop, or a signal.
        main: (N,), whether an arm belongs to the main road; with a signal, whether it is green at
            first.
        switch: seconds until the signal turns.
    """

    name: str
    main: NDArray[np.bool_]
    switch: float = np.inf

    def open(self, time: float) -> NDArray[np.bool_]:
        """Return whether cars of each arm may go now at all, (N,)."""
        if self.name != "signal":
            return np.ones(len(self.main), dtype=bool)
        if time < self.switch:
            return self.main
        return ~self.main & (time >= self.switch + AMBER)

    def delays(self, arms: NDArray[np.int64], left: NDArray[np.bool_]) -> Array:
        """Return by how many seconds drivers (A,) count as later than they come."""
        minor = 4.0 * ~self.main[arms] if self.name == "main" else np.zeros(len(arms))
        return minor + 1.5 * left


@dataclass
class Turns:
    """Which of A cars may go, and who of two goes first.

    Args:
        junction: where.
        rule: its rule.
        movement: (A,), which way each car takes.
        lengths: (A,), metres.
        going: (A,), who may pass the stop line.
        first: (A, A), whether one goes before another.
    """

    junction: Junction
    rule: Rule
    movement: NDArray[np.int64]
    lengths: Array
    going: NDArray[np.bool_]
    first: NDArray[np.bool_]

    def __post_init__(self) -> None:
        ways = self.junction.movements
        self.arm = np.array([ways[m].entry[0] for m in self.movement])
        self.entry = np.array([10 * ways[m].entry[0] + ways[m].entry[1] for m in self.movement])
        self.left = np.array([ways[m].turn == "left" for m in self.movement])
        self.zones = self.junction.zones[self.movement[:, None], self.movement]

    def update(self, time: float, ways: Array, speeds: Array) -> None:
        """Let the drivers go who may, the most urgent first, and stop those before amber."""
        open = self.rule.open(time)[self.arm]
        before = -ways - self.lengths / 2
        can_stop = before > speeds**2 / 5 + 1.0
        stopped = self.going & ~open & can_stop
        self.going &= ~stopped
        self.first[stopped] = False
        wait = before / np.maximum(speeds, CREEP)
        urgency = wait + self.rule.delays(self.arm, self.left)
        leads = ~self.going & self._leads(ways)
        near = leads & open & (wait < LOOK)
        if self.rule.name == "stop":
            near &= (speeds < 1.0) & (before < 4.0)
        for car in np.flatnonzero(near)[np.argsort(urgency[near])]:
            self._decide(int(car), ways, speeds, urgency, near)

    def _leads(self, ways: Array) -> NDArray[np.bool_]:
        """Return who is the first of their lane that may not go yet."""
        waiting = np.where(self.going, -np.inf, ways)
        same = self.entry[:, None] == self.entry
        return waiting >= np.where(same, waiting, -np.inf).max(-1)

    def _decide(
        self, car: int, ways: Array, speeds: Array, urgency: Array, near: NDArray[np.bool_]
    ) -> None:
        enter, clear = self.times(ways, speeds)
        own_clear = (self.zones[car, :, 1] + self.lengths[car] / 2 - ways[car]) / max(
            GO, speeds[car]
        )
        meets = ~np.isnan(self.zones[car, :, 0]) & (clear[:, car] > 0)
        after = enter[car] > clear[:, car] + SURE
        before = own_clear + SURE < enter[:, car]
        claims = near & ~self.going & (urgency < urgency[car])
        blocked = meets & ((self.going & ~after & ~before) | (claims & ~before))
        if not blocked.any():
            self.going[car] = True
            self.first[:, car] = meets & self.going & ~(before & ~after)
            self.first[car] = ~self.first[:, car]

    def times(self, ways: Array, speeds: Array) -> tuple[Array, Array]:
        """Return in how many seconds i enters (A, A) the zone with j, and leaves it."""
        pace = np.maximum(speeds, CREEP)[:, None]
        half, at = self.lengths[:, None] / 2, ways[:, None]
        enter = (self.zones[..., 0] - half - at) / np.maximum(speeds, GO)[:, None]
        return enter, (self.zones[..., 1] + half - at) / pace

    def obstacles(self, ways: Array, speeds: Array) -> Array:
        """Return how far it is to where each car must wait, metres (A,), inf for nowhere."""
        line = np.where(self.going, np.inf, -ways - self.lengths / 2 + 1.0)
        enter, clear = self.times(ways, speeds)
        yields = self.first.T & self.going & self.going[:, None]
        yields &= (clear.T > 0) & (enter > 0) & (enter < clear.T + SURE)
        gaps = self.zones[..., 0] - self.lengths[:, None] / 2 - ways[:, None]
        return np.minimum(line, np.where(yields, gaps, np.inf).min(-1))
