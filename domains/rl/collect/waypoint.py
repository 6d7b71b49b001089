"""A controller of point mazes: a shortest path over the cells, then PD control between them."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from domains.rl.collect.behaviour import Actor

Cell = tuple[int, int]
Range = tuple[float, float]

_WALL = 1
_SIDES = ((0, 1), (1, 0), (0, -1), (-1, 0))


@dataclass(frozen=True)
class Waypoint:
    """Waypoint controllers whose parameters are drawn for each episode from ranges.

    The force is gain (w - x) - damping v + noise, clipped to the action bounds, where w is the
    centre of the next cell on a shortest path, and the goal itself in the last cell and before it.

    Args:
        gain: pull towards the waypoint, per metre; 10 is a good driver, 1 a slow one.
        damping: brake, per metre a second.
        noise: standard deviation of the force's noise, of stationary Gaussian kind; 0 = none.
        persistence: correlation of the noise from one step to the next, in [0, 1); 0 = white.
        wander: probability that the next cell is a random free neighbour of the cell just entered
            and not the next of the path, drawn again on entering a cell and every ``patience``
            steps; 0 = always the path.
        patience: steps after which a choice of the next cell is made again.
    """

    gain: Range
    damping: Range
    noise: Range
    persistence: float = 0.0
    wander: Range = (0.0, 0.0)
    patience: int = 50

    def start(self, env: Any, rng: np.random.Generator) -> Actor:
        """Draw this episode's parameters and plan to the goal that the environment shows."""
        return WaypointActor(
            env.unwrapped,
            gain=rng.uniform(*self.gain),
            damping=rng.uniform(*self.damping),
            noise=rng.uniform(*self.noise),
            wander=rng.uniform(*self.wander),
            persistence=self.persistence,
            patience=self.patience,
            rng=rng,
        )

    def describe(self) -> str:
        """Return the ranges."""
        drawn = ", ".join(
            f"{name} U[{low:g}, {high:g}]"
            for name, (low, high) in (
                ("gain", self.gain),
                ("damping", self.damping),
                ("noise", self.noise),
                ("wander", self.wander),
            )
        )
        return (
            f"waypoint PD control, per episode {drawn}; noise persistence {self.persistence:g}, "
            f"patience {self.patience} steps"
        )


class WaypointActor:
    """One episode of a waypoint controller; parameters as in `Waypoint`."""

    def __init__(
        self,
        maze_env: Any,
        *,
        gain: float,
        damping: float,
        noise: float,
        wander: float,
        persistence: float,
        patience: int,
        rng: np.random.Generator,
    ) -> None:
        self._maze = maze_env.maze
        self._goal = np.array(maze_env.goal)
        self._gain, self._damping, self._noise, self._wander = gain, damping, noise, wander
        self._persistence, self._patience = persistence, patience
        self._fresh = float(np.sqrt(1 - persistence**2))
        self._rng = rng
        self._goal_cell = self._cell(self._goal)
        self._path = routes(self._maze.maze_map, self._goal_cell)
        self._push = rng.standard_normal(2)
        self._at: Cell | None = None
        self._target = self._goal
        self._age = 0

    def act(self, observation: dict[str, np.ndarray]) -> np.ndarray:
        """Return the force at an observation, (2,), float32 in [-1, 1]."""
        position, velocity = observation["observation"][:2], observation["observation"][2:]
        cell = self._cell(position)
        if cell != self._at or self._age >= self._patience:
            self._at, self._age = cell, 0
            self._target = self._choose(cell)
        self._age += 1
        self._push = self._persistence * self._push + self._fresh * self._rng.standard_normal(2)
        force = self._gain * (self._target - position) - self._damping * velocity
        return np.clip(force + self._noise * self._push, -1.0, 1.0).astype(np.float32)

    def _cell(self, position: np.ndarray) -> Cell:
        row, column = self._maze.cell_xy_to_rowcol(position)
        return int(row), int(column)

    def _choose(self, cell: Cell) -> np.ndarray:
        if self._wander and self._rng.random() < self._wander:
            free = neighbours(self._maze.maze_map, cell)
            chosen = free[self._rng.integers(len(free))]
            return self._maze.cell_rowcol_to_xy(np.array(chosen))
        # A cell off the path's map is a wall's edge that the ball overlaps: straight on.
        following = self._path.get(cell, self._goal_cell)
        if following == self._goal_cell:
            return self._goal
        return self._maze.cell_rowcol_to_xy(np.array(following))


def neighbours(maze_map: Sequence[Sequence[Any]], cell: Cell) -> list[Cell]:
    """Return the free cells that share a side with a cell; walls are 1, the rim counts as wall."""
    found = []
    for row, column in _SIDES:
        beside = cell[0] + row, cell[1] + column
        inside = 0 <= beside[0] < len(maze_map) and 0 <= beside[1] < len(maze_map[0])
        if inside and maze_map[beside[0]][beside[1]] != _WALL:
            found.append(beside)
    return found


def routes(maze_map: Sequence[Sequence[Any]], goal: Cell) -> dict[Cell, Cell]:
    """Return the next cell of a shortest path to the goal, for every cell that can reach it."""
    following = {goal: goal}
    queue = deque([goal])
    while queue:
        cell = queue.popleft()
        for beside in neighbours(maze_map, cell):
            if beside not in following:
                following[beside] = cell
                queue.append(beside)
    return following
