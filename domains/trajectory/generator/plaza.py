"""Scenes of people who walk alone or together between exits of a place."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from domains.trajectory.generator import room as rooms
from domains.trajectory.generator.clock import TICK, Clock
from domains.trajectory.generator.room import Room
from domains.trajectory.generator.social_force import SocialForce
from domains.trajectory.generator.tracks import Tracks
from domains.trajectory.road import Points

Array = NDArray[np.float64]

WARM = 1.5  # seconds before the first recorded step
SPEED = (1.34, 0.26)  # metres a second, mean and spread of desired speeds, as in the model's paper
NEAR = 1.5  # metres from a point of a route, where the next one counts
LONGEST = 8  # points of a route
NOISE = 0.15  # metres / second^2


@dataclass
class Crowd:
    """A people, moved on tick by tick.

    Args:
        model: how they walk.
        positions: (A, 2).
        routes: (A, W, 2), points that they walk to, the last one repeated.
        desired: (A,), metres a second.
        groups: (A,), equal for those who walk together.
        walls: (S, 2, 2), segments.
    """

    model: SocialForce
    positions: Array
    routes: Array
    desired: Array
    groups: NDArray[np.int64]
    walls: Array
    velocities: Array = field(init=False)
    leg: NDArray[np.int64] = field(init=False)  # the point of the route that each walks to

    def __post_init__(self) -> None:
        self.leg = np.ones(len(self.positions), dtype=int)
        self.velocities = self.desired[:, None] * self.goals()

    def goals(self) -> Array:
        """Return unit directions (A, 2) to where they walk next."""
        away = self.routes[np.arange(len(self.leg)), self.leg] - self.positions
        return away / np.maximum(np.linalg.norm(away, axis=-1, keepdims=True), 1e-6)

    def step(self, rng: np.random.Generator) -> None:
        """Move everybody on by one tick."""
        goals = self.goals()
        forces = self.model.forces(
            self.positions, self.velocities, goals, self.walls, self.groups
        ) + NOISE * rng.normal(size=self.positions.shape)
        later = self.model.step(self.velocities, goals, self.desired, forces, TICK)
        self.positions = self.positions + (self.velocities + later) / 2 * TICK
        self.velocities = later
        self._next_leg()

    def _next_leg(self) -> None:
        rows = np.arange(len(self.leg))
        target = self.routes[rows, self.leg]
        away, along = target - self.positions, target - self.routes[rows, self.leg - 1]
        size = np.maximum(np.linalg.norm(along, axis=-1), 1e-6)
        passed = (away * along).sum(-1) / size < 0.2
        there = (np.linalg.norm(away, axis=-1) < NEAR) | passed
        self.leg = np.minimum(self.leg + there, self.routes.shape[1] - 1)


def simulate(clock: Clock, rng: np.random.Generator) -> Tracks:
    """Return a scene of people."""
    place = rooms.drawn(rng)
    crowd = _drawn(place, clock, rng)
    positions, velocities = [], []
    for _ in range(clock.ticks):
        positions.append(crowd.positions)
        velocities.append(crowd.velocities)
        crowd.step(rng)
    moves = np.stack(velocities, axis=1)[:, clock.recorded]
    return Tracks(
        kinds=("pedestrian",) * len(moves),
        positions=np.stack(positions, axis=1)[:, clock.recorded],
        headings=np.arctan2(moves[..., 1], moves[..., 0]),
        valid=np.ones(moves.shape[:2], dtype=bool),
        road=place.road(),
        window=(6.0, 12.0),
    )


def _drawn(place: Room, clock: Clock, rng: np.random.Generator) -> Crowd:
    people = int(rng.integers(4, 13))
    groups = np.repeat(np.arange(people), rng.choice([1, 2, 3], people, p=[0.6, 0.28, 0.12]))
    groups = groups[:people]
    routes, desired = np.zeros((people, LONGEST, 2)), np.zeros(people)
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        desired[members] = np.clip(rng.normal(*SPEED), 0.7, 1.9)
        trip = _trip(place, clock.present * desired[members[0]], rng)
        across = np.linspace(-0.4, 0.4, len(members))[:, None] * (len(members) > 1)
        side = trip[1] - trip[0]
        side = np.array([-side[1], side[0]]) / (np.linalg.norm(side) + 1e-9)
        for member, shift in zip(members, across, strict=True):
            full = trip[np.minimum(np.arange(LONGEST), len(trip) - 1)]
            routes[member] = full + shift * side
    starts = _spread(routes[:, 0], groups)
    return Crowd(SocialForce(), starts, routes, desired, groups, place.segments())


def _trip(place: Room, walked: float, rng: np.random.Generator) -> Points:
    """Return a route from a random exit to another, begun so as to be well inside now."""
    one, other = rng.choice(len(place.exits), 2, replace=False)
    entry = place.exits[one]
    gate = entry.point(rng.uniform(-1, 1))
    inside = rng.uniform(-2, 12) - walked
    start = gate - min(inside, 4.0) * entry.outward
    onward = place.route(gate - 0.5 * entry.outward, place.exits[other], rng.uniform(-1, 1), rng)
    return (
        np.concatenate([[start], onward]) if inside < 0 else np.concatenate([[start], onward[1:]])
    )


def _spread(starts: Array, groups: NDArray[np.int64]) -> Array:
    """Return the starts, with each group moved back along x and y until nobody is within 1 m."""
    found = starts.copy()
    for group in np.unique(groups):
        own, earlier = groups == group, groups < group
        for turn in range(60):
            gaps = np.linalg.norm(found[own][:, None] - found[earlier], axis=-1)
            if not gaps.size or gaps.min() > 1.0:
                break
            angle = 2.4 * turn
            found[own] += 0.4 * np.array([np.cos(angle), np.sin(angle)])
    return found
