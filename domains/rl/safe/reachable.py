r"""The feasible set of the point robot, by dynamic programming over its speed.

Conventions:
    States and the margin h are those of :mod:`domains.rl.safe.point_robot`. The feasible value is
    :math:`V(s) = \min_\pi \max_t h(s_t)` over all controls from s on: V <= 0 where some control
    never enters a hazard. Outside the box nothing more happens, and the goal ends nothing.

Recipe:
    Braking fully loses nothing: the curvature of a path is turn rate over speed, so what a fast
    robot can drive a slow one can too, and one that stands is as safe as where it stands. (That is
    exact in continuous time; with steps of dt it is checked by random controls only.) So each step
    lowers the speed by dt until it is 0, and speed takes the place of time:

    .. math:: V_0 = h, \qquad V_v(x, y, \theta) = \max\bigl(h, \min_{\omega \in \{-1, 0, 1\}}
        V_{v - dt}(x', y', \theta + \omega\,dt)\bigr).

    Speeds are multiples of dt, so only x, y and theta are interpolated. Below v = 0 the robot is
    the one with v > 0 that faces the other way. What is stored and interpolated is V - h, which is
    0 wherever nothing threatens: so V >= h holds between the grid's points too.

Source: Fisac et al., 2019, "Bridging Hamilton-Jacobi Safety Analysis and Reinforcement Learning",
https://doi.org/10.1109/ICRA.2019.8794107, eq. 7 for the discounted operator.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn.functional import grid_sample

from domains.rl.safe.point_robot import DT, HALF_WIDTH, HAZARD_RADIUS, HAZARDS, margin


@dataclass(frozen=True)
class Grid:
    """Where the value is computed.

    Time and memory are proportional to the number of nodes, points^2 x angles x speeds. Measured on
    one CPU core against every pair of turn rates with one switch, on random states with speeds of
    0.5, 1, 1.5 and 2 (IoU is that of the infeasible sets)::

        points, angles    CPU time    memory    mean |error|         IoU
        61, 24            0.2 s        15 MB    0.002 to 0.018 m     0.977 to 0.988
        121, 48           2.4 s       115 MB    0.001 to 0.007 m     0.990 to 0.997
        161, 72           5.6 s       306 MB    0.0004 to 0.004 m    0.993 to 0.997

    Args:
        points: along x and along y, rims included.
        angles: headings in a full turn.
        top_speed: largest speed, in metres a second, rounded up to a multiple of 0.05.
    """

    points: int = 121
    angles: int = 48
    top_speed: float = 2.0

    def __post_init__(self) -> None:
        if self.points < 2 or self.angles < 1 or not 0 < self.top_speed < np.inf:
            raise ValueError(f"got {self}; give points >= 2, angles >= 1 and a speed above 0")

    @property
    def speeds(self) -> int:
        """Number of speeds, 0 included."""
        return int(np.ceil(self.top_speed / DT - 1e-6)) + 1


def feasible_value(grid: Grid | None = None, gamma: float = 1.0) -> "FeasibleValue":
    """Compute the feasible value; arguments as in :func:`speed_levels`."""
    grid = grid or Grid()
    return FeasibleValue(grid, speed_levels(grid, gamma))


def speed_levels(grid: Grid, gamma: float = 1.0) -> Iterator[Tensor]:
    r"""Yield V - h at the speeds 0, dt, 2 dt, ..., each (angles, points, points), in float32.

    Args:
        grid: how fine.
        gamma: 1 = the feasible value. Below 1 the discounted operator
            :math:`V = (1 - \gamma) h + \gamma \max(h, V')` takes its place, still over full braking
            only; it is what a critic with this discount learns.

    Raises:
        ValueError: for a gamma outside (0, 1].
    """
    if not 0 < gamma <= 1:
        raise ValueError(f"got gamma = {gamma}; give one in (0, 1]")
    axis = torch.linspace(-HALF_WIDTH, HALF_WIDTH, grid.points)
    places = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1)
    theta = 2 * torch.pi / grid.angles * torch.arange(grid.angles)
    heading = torch.stack([theta.cos(), theta.sin()], -1)[:, None, None]
    h = _margin(places)
    excess = torch.zeros(grid.angles, grid.points, grid.points)
    yield excess
    for level in range(1, grid.speeds):
        ahead = places + level * DT * DT * heading  # (angles, points, points, 2)
        best = grid_sample(
            _turned(excess), ahead.flip(-1) / HALF_WIDTH, padding_mode="border", align_corners=True
        ).amin(1)
        inside = ahead.abs().amax(-1) <= HALF_WIDTH
        rise = (_margin(ahead) + best * inside - h).clamp(min=0)  # max(h, V') - h
        excess = gamma * rise
        yield excess


def _turned(excess: Tensor) -> Tensor:
    """Return the last level at headings one step on, (angles, 3, points, points), a turn each."""
    turned = []
    for turn in (-1, 0, 1):
        cells = turn * DT * len(excess) / (2 * np.pi)
        low = int(np.floor(cells))
        below, above = excess.roll(-low, 0), excess.roll(-low - 1, 0)
        turned.append(below.lerp(above, cells - low))
    return torch.stack(turned, 1)


def _margin(places: Tensor) -> Tensor:
    centres = torch.tensor(HAZARDS, dtype=places.dtype)
    return HAZARD_RADIUS - torch.stack([(places - c).norm(dim=-1) for c in centres]).amin(0)


class FeasibleValue:
    """The feasible value, interpolated on a grid.

    Args:
        grid: that of the levels.
        levels: what :func:`speed_levels` yields; wrap it in a progress bar at will.
    """

    def __init__(self, grid: Grid, levels: Iterable[Tensor]) -> None:
        self.grid = grid
        shape = (grid.speeds, grid.angles, grid.points, grid.points)
        self.excess = np.empty(shape, np.float32)
        for index, level in zip(range(grid.speeds), levels, strict=True):
            self.excess[index] = level.numpy()

    def value(self, states: ArrayLike) -> np.ndarray:
        """Return V of states, (N, 4): (N,), float64, in metres; outside the box it is h.

        Raises:
            ValueError: for states of another shape, not finite, or faster than the grid.
        """
        states = np.asarray(states, dtype=np.float64)
        if states.ndim != 2 or states.shape[1] != 4 or not np.isfinite(states).all():
            raise ValueError(f"got states of shape {states.shape}; give finite ones, (N, 4)")
        x, y, v, theta = states.T
        theta = np.where(v < 0, theta + np.pi, theta)
        speed = np.abs(v) / DT
        fastest = self.grid.speeds - 1
        if (speed > fastest + 1e-6).any():
            raise ValueError(
                f"got a speed of {np.abs(v).max():.3g}, beyond the grid's {fastest * DT:.3g} m/s; "
                f"give Grid a larger top_speed"
            )
        cells = (self.grid.points - 1) / (2 * HALF_WIDTH)
        turn = theta / (2 * np.pi) % 1.0 * self.grid.angles
        excess = self._interpolate(
            [speed, turn, (x + HALF_WIDTH) * cells, (y + HALF_WIDTH) * cells]
        )
        inside = np.maximum(np.abs(x), np.abs(y)) <= HALF_WIDTH
        return margin(states) + np.where(inside, excess, 0.0)

    def slice(self, v: float, theta: float, points: int) -> np.ndarray:
        """Return V at one speed and heading, (points, points), indexed [x, y], over the box."""
        axis = np.linspace(-HALF_WIDTH, HALF_WIDTH, points)
        x, y = np.meshgrid(axis, axis, indexing="ij")
        states = np.stack([x, y, np.full_like(x, v), np.full_like(x, theta)], -1)
        return self.value(states.reshape(-1, 4)).reshape(points, points)

    def _interpolate(self, places: list[np.ndarray]) -> np.ndarray:
        """Return V - h, multilinear, at places in cells along each axis, a list of 4 (N,)."""
        periodic = 1  # the heading's axis
        low, share = [], []
        for axis, place in enumerate(places):
            size = self.excess.shape[axis]
            floor = np.floor(place).astype(int)
            floor = floor if axis == periodic else floor.clip(0, size - 2)
            low.append(floor)
            share.append((place - floor).clip(0.0, 1.0))
        total = np.zeros(len(places[0]))
        for corner in product((0, 1), repeat=4):
            index = tuple(
                (low[axis] + up) % self.excess.shape[axis] for axis, up in enumerate(corner)
            )
            weights = [share[axis] if up else 1 - share[axis] for axis, up in enumerate(corner)]
            total += np.prod(weights, 0) * self.excess[index]
        return total
