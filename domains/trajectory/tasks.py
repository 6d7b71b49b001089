"""Tasks of controllable generation: where everybody should be, and by which route.

=================  ============================================================================
task               every agent should be
=================  ============================================================================
``goal``           at the end, where it went
``deceleration``   at the end, where it was after 5/6 of the time: later than it was
``acceleration``   after 5/6 of the time, where it went in the end: sooner than it was
``route``          at the end of one of its marginal modes, drawn evenly
=================  ============================================================================

Realism is the distance from the route: of what happened, or of that mode.

Source: Wang et al. 2024, Optimizing diffusion models for joint trajectory prediction and
    controllable generation, section 4.3, and its code.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from domains.trajectory.batch import Window, strided
from domains.trajectory.prepared import Prepared, split
from domains.trajectory.scene import Scene
from domains.trajectory.truth import happened
from guided.rng import stream_seed

Array = NDArray[np.float64]
Task = Literal["goal", "deceleration", "acceleration", "route"]
TASKS: tuple[Task, ...] = get_args(Task)
EARLY = 5 / 6


@dataclass(frozen=True)
class Demand:
    """What a task asks of one scene.

    Args:
        agents: places of those who are asked, among the agents who are seen now.
        goals: where they should be, (N, 2).
        step: when, an index into the future's steps.
        routes: (N, n, 2), the points of their routes, beginning now.
    """

    agents: NDArray[np.int64]
    goals: Array
    step: int
    routes: Array


def judgeable(scenes: Sequence[Scene], window: Window) -> list[Scene]:
    """Return the scenes in which somebody who is scored has a whole future.

    Raises:
        ValueError: where there is none.
    """
    kept = []
    for scene in scenes:
        steps = scene.now + strided(scene, window) * (1 + np.arange(window.future))
        if steps[-1] < scene.valid.shape[1]:
            whole = scene.present & scene.valid[:, steps].all(1)
            if (whole if scene.scored is None else whole & scene.scored).any():
                kept.append(scene)
    if not kept:
        raise ValueError(
            f"in none of {len(scenes)} scenes has anybody who is scored a whole future of "
            f"{window.future} steps of {window.dt:g} s; give longer recordings"
        )
    return kept


def demands(task: Task, prepared: Prepared, seed: int = 0) -> list[Demand]:
    """Return what a task asks of each scene; of agents whose future is known whole.

    Raises:
        ValueError: for a scene in which nobody's future is known whole.
    """
    modes = list(split(prepared, prepared.decode(prepared.references().flatten(0, 1))))
    found = []
    for i, scene in enumerate(prepared.scenes):
        truth = truth_of(prepared, i)
        known = np.flatnonzero(np.isfinite(truth).all((1, 2)))
        if not len(known):
            raise ValueError(f"{scene.name}: no agent's future is known, so there is no task")
        now = scene.positions[prepared.cases[i].agents[known], scene.now]
        routes = truth[known]
        if task == "route":
            # By its name, so that what is asked does not depend on the batch.
            random = np.random.default_rng(stream_seed(seed, zlib.crc32(scene.name.encode())))
            drawn = random.integers(len(modes[i]), size=len(known))
            routes = modes[i][drawn, known]
        found.append(_demand(task, known, np.concatenate([now[:, None], routes], axis=1)))
    return found


def _demand(task: Task, agents: NDArray[np.int64], routes: Array) -> Demand:
    last = routes.shape[1] - 2  # routes begin now, futures a step later
    early = round(EARLY * (last + 1)) - 1
    at = early if task == "deceleration" else last
    due = early if task == "acceleration" else last
    return Demand(agents, routes[:, at + 1], due, routes)


def truth_of(prepared: Prepared, i: int) -> Array:
    """Return what happened to the agents of scene i, (A, F, 2), NaN where nobody was seen."""
    window = prepared.predictor.config.window
    return happened(prepared.scenes[i], prepared.cases[i].agents, window.dt, window.future)
