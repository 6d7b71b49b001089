"""Where everybody is at any time between the steps: the history, then one world of a forecast.

Time is in seconds, and 0 is now. Positions follow a monotone cubic curve through the steps, which
never overshoots, so that who stands still does. Headings of the history are those of the scene;
later ones follow the motion, and stay where an agent is too slow to have a direction.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from domains.trajectory.forecast import Forecast
from domains.trajectory.scene import Scene

SLOW = 0.5  # metres a second below which a direction of motion is noise
TINY = 1e-9  # seconds


class Motion(NamedTuple):
    """Poses of the A agents of a scene at T times.

    Args:
        positions: (A, T, 2), NaN where an agent is not there.
        headings: (A, T), NaN where an agent is not there.
    """

    positions: NDArray[np.float64]
    headings: NDArray[np.float64]


class _Run(NamedTuple):
    """Steps of one agent without a gap: n times, positions (n, 2) and headings (n,)."""

    times: NDArray[np.float64]
    positions: NDArray[np.float64]
    headings: NDArray[np.float64]


def span(forecast: Forecast) -> tuple[float, float]:
    """Return the times of the first step of the history and the last of the worlds."""
    scene = forecast.scene
    return -scene.now * scene.dt, forecast.worlds.shape[2] * forecast.dt


def motion(forecast: Forecast, world: int, times: NDArray[np.float64]) -> Motion:
    """Return where everybody is while one world happens.

    Agents who are not predicted stay where they are now. Nobody is there before they are first
    seen, in a gap between steps at which they are, or after they were last seen before now.

    Args:
        forecast: the worlds, and the scene with its history.
        world: index of the world.
        times: (T,).
    """
    scene = forecast.scene
    positions = np.full((scene.agents, len(times), 2), np.nan)
    headings = np.full((scene.agents, len(times)), np.nan)
    futures = {int(a): forecast.worlds[world, n] for n, a in enumerate(forecast.agents)}
    for a in range(scene.agents):
        runs = _runs(scene, a)
        if a in futures:
            runs = _continued(runs, futures[a], _later(forecast))
        elif runs and runs[-1].times[-1] > -TINY:
            runs[-1] = _staying(runs[-1], span(forecast)[1])
        for run in runs:
            inside = _inside(run, times, scene.dt)
            positions[a, inside], headings[a, inside] = _poses(run, times[inside])
    return Motion(positions, headings)


def spread(forecast: Forecast, times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where predicted agents are in every world, (K, N, T, 2), at times after now.

    Args:
        forecast: the worlds.
        times: (T,), of at least 0.
    """
    scene, (count, agents) = forecast.scene, forecast.worlds.shape[:2]
    now = scene.positions[forecast.agents, scene.now]
    start = np.broadcast_to(now[:, None], (count, agents, 1, 2))
    known = np.append(0.0, _later(forecast))
    return _between(known, np.concatenate([start, forecast.worlds], axis=2), times, axis=2)


def _later(forecast: Forecast) -> NDArray[np.float64]:
    return np.arange(1.0, forecast.worlds.shape[2] + 1) * forecast.dt


def evenly(count: int, most: int) -> NDArray[np.int64]:
    """Return indices of at most so many of ``count`` things, evenly picked, the first included."""
    return np.unique(np.linspace(0, max(count - 1, 0), min(count, most)).astype(int))


def _runs(scene: Scene, a: int) -> list[_Run]:
    """Return the parts of an agent's history, up to now, in which no step is missing."""
    steps = np.flatnonzero(scene.valid[a, : scene.now + 1])
    parts = np.split(steps, np.flatnonzero(np.diff(steps) > 1) + 1)
    times = scene.dt * np.arange(-float(scene.now), 1.0)
    return [
        _Run(times[part], scene.positions[a, part], scene.headings[a, part])
        for part in parts
        if len(part)
    ]


def _continued(
    runs: list[_Run], future: NDArray[np.float64], times: NDArray[np.float64]
) -> list[_Run]:
    """Return the runs with a world joined to the last one, which reaches now."""
    last = runs[-1]
    path = np.concatenate([last.positions[-1:], future])
    headings = headings_along(np.append(0.0, times), path, last.headings[-1])
    joined = _Run(
        np.concatenate([last.times, times]),
        np.concatenate([last.positions, future]),
        np.concatenate([last.headings, headings[1:]]),
    )
    return [*runs[:-1], joined]


def _staying(run: _Run, until: float) -> _Run:
    return _Run(
        np.append(run.times, until),
        np.concatenate([run.positions, run.positions[-1:]]),
        np.append(run.headings, run.headings[-1]),
    )


def headings_along(
    times: NDArray[np.float64], path: NDArray[np.float64], first: float
) -> NDArray[np.float64]:
    """Return headings (n,) along a path (n, 2): of the move from the step before to the one after.

    Args:
        times: (n,), of the path's points.
        path: where an agent is.
        first: the heading until the agent is faster than ``SLOW``.
    """
    before = np.maximum(np.arange(len(path)) - 1, 0)
    after = np.minimum(np.arange(len(path)) + 1, len(path) - 1)
    moves = path[after] - path[before]
    fast = np.linalg.norm(moves, axis=-1) > SLOW * (times[after] - times[before])
    angles = np.append(first, np.arctan2(moves[:, 1], moves[:, 0]))
    last = np.maximum.accumulate(np.where(fast, 1 + np.arange(len(path)), 0))
    return angles[last]


def _inside(run: _Run, times: NDArray[np.float64], dt: float) -> NDArray[np.bool_]:
    """Return which times lie in a run; a lone step lasts half a step to either side."""
    extra = dt / 2 if len(run.times) == 1 else TINY
    return (times >= run.times[0] - extra) & (times <= run.times[-1] + extra)


def _poses(
    run: _Run, times: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    headings = np.interp(times, run.times, np.unwrap(run.headings))
    return _between(run.times, run.positions, times, axis=0), headings


def _between(
    known: NDArray[np.float64], values: NDArray[np.float64], times: NDArray[np.float64], axis: int
) -> NDArray[np.float64]:
    if len(known) == 1:
        return np.repeat(values, len(times), axis=axis)
    clipped = np.clip(times, known[0], known[-1])
    return PchipInterpolator(known, values, axis=axis)(clipped)
