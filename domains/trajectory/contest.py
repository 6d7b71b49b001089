"""Methods of guidance against each other on one task: goal error, realism, time."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from domains.trajectory.asking import setting_of
from domains.trajectory.costs.goal import GoalPoint
from domains.trajectory.guiding import SHAPED, Guidance, Method
from domains.trajectory.metrics.guidance import guidance_scores
from domains.trajectory.model import Predictor
from domains.trajectory.predict import ROWS, Sampling, batches, sampled
from domains.trajectory.prepared import Prepared, prepare, split
from domains.trajectory.scene import Scene
from domains.trajectory.tasks import Demand, Task, demands
from guided.energy import Energy
from guided.sampler import Sampler

FIGURES = ("min_jfdeg", "mean_jfdeg", "min_jrde", "mean_jrde")


@dataclass(frozen=True)
class Outcome:
    """What a method did on one task.

    Args:
        guidance: method and strength.
        min_jfdeg: distance to the goals, the mean over agents, of the best sample; metres.
        mean_jfdeg: its mean over samples.
        min_jrde: distance from the routes, likewise.
        mean_jrde: its mean over samples.
        milliseconds: a step of all samples of a scene took, on average.
    """

    guidance: Guidance
    min_jfdeg: float
    mean_jfdeg: float
    min_jrde: float
    mean_jrde: float
    milliseconds: float

    def figures(self) -> dict[str, Any]:
        """Return all of it as JSON."""
        return asdict(self)


def contestants(methods: Sequence[Method], strengths: Sequence[float]) -> list[Guidance]:
    """Return every method at every strength, shaped or not; the unguided one once."""
    found = [Guidance("none")] if "none" in methods else []
    for method in methods:
        shapes = (False, True) if method in SHAPED else (False,)
        if method != "none":
            found += [Guidance(method, s, shaped=shaped) for shaped in shapes for s in strengths]
    return found


def named(guidance: Guidance) -> str:
    """Return what a table calls a method."""
    shaped = guidance.shaped and guidance.method in SHAPED
    return f"{guidance.method}, shaped" if shaped else guidance.method


def tuned(outcomes: Sequence[Outcome]) -> list[Guidance]:
    """Return each method at its best strength: the least goal error plus distance from the route.

    Both are means over samples.
    """
    best: dict[str, Outcome] = {}
    for outcome in outcomes:
        name = named(outcome.guidance)
        if name not in best or _sum(outcome) < _sum(best[name]):
            best[name] = outcome
    return [outcome.guidance for outcome in best.values()]


def contest(
    predictor: Predictor, scenes: Sequence[Scene], task: Task, how: Sampling, guidance: Guidance
) -> Outcome:
    """Return what a method does in scenes, all with the same noise.

    Raises:
        ValueError: for no scene, or one in which nobody's future is known.
    """
    if not scenes:
        raise ValueError("methods need scenes to be compared in, got none; give more of them")
    rows, spent = [], 0.0
    for index in batches(scenes, max(1, ROWS // how.samples)):
        prepared = prepare(predictor, [scenes[i] for i in index])
        asked = demands(task, prepared, how.seed)
        energies = [_arrive(prepared, i, demand) for i, demand in enumerate(asked)]

        def guide(
            prepared: Prepared, times: Sequence[float], energies: list[Energy] = energies
        ) -> Sampler:
            return guidance.sampler(prepared, times, energies)

        start = time.process_time()
        positions = sampled(prepared, how, guide)
        spent += time.process_time() - start
        for found, demand in zip(split(prepared, positions), asked, strict=True):
            worlds = found[:, demand.agents]
            if not np.isfinite(worlds).all():  # too strong a step
                rows.append([np.inf] * len(FIGURES))
                continue
            score = guidance_scores(
                worlds, demand.goals, list(demand.routes), demand.step, segments=True
            )
            rows.append([getattr(score, name) for name in FIGURES])
    means = dict(zip(FIGURES, np.mean(rows, axis=0).tolist(), strict=True))
    return Outcome(guidance, **means, milliseconds=1000 * spent / len(scenes) / how.steps)


def table(task: Task, scenes: int, outcomes: Sequence[Outcome]) -> str:
    """Return outcomes as text."""
    lines = [
        f"\n{task}, {scenes} scenes",
        "method           strength  goal min  goal mean  route min  route mean  ms a step",
    ]
    for one in outcomes:
        strength = "" if one.guidance.method == "none" else f"{one.guidance.strength:g}"
        lines.append(
            f"{named(one.guidance):15}  {strength:>8}  {one.min_jfdeg:8.3f}  {one.mean_jfdeg:9.3f}"
            f"  {one.min_jrde:9.3f}  {one.mean_jrde:10.3f}  {one.milliseconds:9.2f}"
        )
    return "\n".join(lines)


def _arrive(prepared: Prepared, i: int, demand: Demand) -> Energy:
    setting = setting_of(prepared, prepared.scenes[i], prepared.cases[i])
    due = (demand.step + 1) * setting.dt
    return GoalPoint(setting, [int(a) for a in demand.agents], demand.goals, due)


def _sum(outcome: Outcome) -> float:
    total = outcome.mean_jfdeg + outcome.mean_jrde
    return total if np.isfinite(total) else float("inf")
