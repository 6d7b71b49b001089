"""Whether guidance reached its goals, and whether the agents kept to their routes meanwhile.

Conventions: K worlds, N agents, F steps, metres. Step f is (f + 1) * dt seconds after now. Agents
are averaged inside a world; minimum and mean are then taken over worlds.

    JFDEG_k = mean_n |x_kn(step) - goal_n|                    effectiveness
    JRDE_k  = mean_n mean_(f <= step) distance(x_kn(f), route_n)   realism

The first asks for a place at a time, the second only for a route: it stays 0 where an agent is
merely faster or slower on its way.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.distance import cdist

from domains.trajectory.metrics.inputs import Array, checked_worlds, require_step
from domains.trajectory.metrics.segments import distance_to_origin


@dataclass(frozen=True)
class GuidanceScores:
    """Figures of one guided scene, metres; the minima are independent of each other.

    Args:
        min_jfdeg: distance to the goals in the world that is nearest to them.
        mean_jfdeg: its mean over worlds.
        min_jrde: distance from the routes in the world that is nearest to them.
        mean_jrde: its mean over worlds.
    """

    min_jfdeg: float
    mean_jfdeg: float
    min_jrde: float
    mean_jrde: float


def goal_errors(worlds: ArrayLike, goals: ArrayLike, step: int) -> Array:
    """Return the mean over agents of the distance to their goals at a step, (K,).

    Args:
        worlds: (K, N, F, 2) metres.
        goals: (N, 2) metres, NaN for an agent without a goal, which is left out.
        step: index into the F steps at which the goals are due.

    Raises:
        ValueError: for shapes that do not fit, broken numbers, a step outside, or no goal at all.

    Source:
        Wang et al., 2024, Optimizing Diffusion Models for Joint Trajectory Prediction and
        Controllable Generation; minJFDEG and meanJFDEG of its code.
    """
    worlds = checked_worlds(worlds)
    goals = np.asarray(goals, dtype=np.float64)
    agents, steps = worlds.shape[1:3]
    if goals.shape != (agents, 2) or np.isinf(goals).any():
        raise ValueError(
            f"{agents} agents need finite goals ({agents}, 2), got shape {goals.shape}; write NaN "
            f"for an agent without one"
        )
    require_step(step, steps)
    asked = ~np.isnan(goals).any(-1)
    if not asked.any():
        raise ValueError("no agent has a goal, so there is no distance to one; give at least one")
    return np.linalg.norm(worlds[:, asked, step] - goals[asked], axis=-1).mean(1)


def route_errors(
    worlds: ArrayLike, routes: Sequence[ArrayLike], step: int, segments: bool = False
) -> Array:
    """Return the mean distance from the routes over agents and steps up to a step, (K,).

    Args:
        worlds: (K, N, F, 2) metres.
        routes: N arrays (R_n, 2) metres, the points of each agent's reference trajectory; points
            with a NaN are left out. A truth (N, F, 2) is such a sequence.
        step: last index into the F steps that counts.
        segments: measure to the straight lines between the points, instead of to the points; the
            paper measures to points, which is right where these are dense.

    Raises:
        ValueError: for shapes that do not fit, broken numbers, a step outside, or a route without
            points.

    Source:
        Wang et al., 2024, Optimizing Diffusion Models for Joint Trajectory Prediction and
        Controllable Generation; JRDE, in its code minJLDE and meanJLDE.
    """
    worlds = checked_worlds(worlds)
    agents, steps = worlds.shape[1:3]
    if len(routes) != agents:
        raise ValueError(f"{agents} agents need as many routes, got {len(routes)}; add the others")
    require_step(step, steps)
    distance = _to_segments if segments else _to_points
    gaps = [
        distance(worlds[:, n, : step + 1].reshape(-1, 2), _checked_route(routes[n], n))
        for n in range(agents)
    ]
    return np.stack(gaps).reshape(agents, len(worlds), step + 1).mean((0, 2))


def guidance_scores(
    worlds: ArrayLike,
    goals: ArrayLike,
    routes: Sequence[ArrayLike],
    step: int,
    segments: bool = False,
) -> GuidanceScores:
    """Return effectiveness and realism of one guided scene.

    Args:
        worlds: (K, N, F, 2) metres.
        goals: see :func:`goal_errors`.
        routes: see :func:`route_errors`.
        step: of the task, an index into the F steps.
        segments: see :func:`route_errors`.

    Raises:
        ValueError: as the two functions.
    """
    goal = goal_errors(worlds, goals, step)
    route = route_errors(worlds, routes, step, segments)
    return GuidanceScores(
        min_jfdeg=float(goal.min()),
        mean_jfdeg=float(goal.mean()),
        min_jrde=float(route.min()),
        mean_jrde=float(route.mean()),
    )


def _checked_route(route: ArrayLike, agent: int) -> Array:
    points = np.asarray(route, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or np.isinf(points).any():
        raise ValueError(
            f"the route of agent {agent} needs finite points (R, 2), got shape {points.shape}; "
            f"mend it"
        )
    points = points[~np.isnan(points).any(-1)]
    if not len(points):
        raise ValueError(f"the route of agent {agent} has no points; give it one, or leave it out")
    return points


def _to_points(at: Array, route: Array) -> Array:
    return cdist(at, route).min(1)


def _to_segments(at: Array, route: Array) -> Array:
    start, end = (route, route) if len(route) == 1 else (route[:-1], route[1:])
    return distance_to_origin(start - at[:, None], end - at[:, None]).min(1)
