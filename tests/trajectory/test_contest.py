"""Methods against each other: who takes part, which strength wins, and the figures."""

from dataclasses import replace

import numpy as np
import pytest

from domains.trajectory.asking import setting_of
from domains.trajectory.contest import Outcome, contest, contestants, named, table, tuned
from domains.trajectory.costs.goal import GoalPoint
from domains.trajectory.guiding import Guidance
from domains.trajectory.metrics.segments import distance_to_origin
from domains.trajectory.predict import Sampling, sampled
from domains.trajectory.prepared import prepare, split
from domains.trajectory.tasks import TASKS, demands
from tests.trajectory.small_predictor import crowd, small, walkers

HOW = Sampling(samples=4, steps=3, start=1.0)


def outcome(method, strength, goal, route):
    return Outcome(Guidance(method, strength), 0.0, goal, 0.0, route, 1.0)


def test_every_method_meets_every_strength_and_the_unguided_one_once():
    found = contestants(("none", "ecm", "mpgd"), (0.1, 0.2))
    pairs = [(named(one), one.strength) for one in found[1:]]
    assert found[0].method == "none" and len(found) == 7
    expected = [(n, s) for n in ("ecm", "ecm, shaped", "mpgd") for s in (0.1, 0.2)]
    assert pairs == expected
    assert all(one.method != "none" for one in contestants(("ecm",), (0.1,)))


def test_the_strength_with_the_least_sum_is_chosen():
    found = tuned(
        [
            outcome("ecm", 0.1, 1.0, 0.1),
            outcome("ecm", 0.2, 0.4, 0.3),  # the least sum
            outcome("ecm", 0.4, 0.1, 0.9),  # the least goal error
            outcome("mpgd", 0.1, np.nan, 0.0),
            outcome("mpgd", 0.2, 9.0, 9.0),
        ]
    )
    assert [(one.method, one.strength) for one in found] == [("ecm", 0.2), ("mpgd", 0.2)]


@pytest.mark.parametrize("task", TASKS)
def test_figures_are_those_of_the_guided_samples(task):
    """Goal error and distance from the route, both from their definitions."""
    scenes, guidance = [walkers(2)], Guidance("ecm", 0.3)
    found = contest(small(), scenes, task, HOW, guidance)
    prepared = prepare(small(), scenes)
    (demand,) = demands(task, prepared, HOW.seed)
    setting = setting_of(prepared, prepared.scenes[0], prepared.cases[0])
    energy = GoalPoint(setting, [0, 1], demand.goals, 0.5 * (demand.step + 1))
    run = sampled(prepared, HOW, lambda p, times: guidance.sampler(p, times, [energy]))
    (worlds,) = split(prepared, run)
    goal = np.linalg.norm(worlds[:, :, demand.step] - demand.goals, axis=-1).mean(1)
    route = np.zeros(len(worlds))
    for k, world in enumerate(worlds):
        gaps = [
            min(
                float(distance_to_origin(a - point, b - point))
                for a, b in zip(demand.routes[n][:-1], demand.routes[n][1:], strict=True)
            )
            for n in range(2)
            for point in world[n, : demand.step + 1]
        ]
        route[k] = np.mean(gaps)
    got = [found.min_jfdeg, found.mean_jfdeg, found.min_jrde, found.mean_jrde]
    np.testing.assert_allclose(got, [goal.min(), goal.mean(), route.min(), route.mean()], atol=1e-4)
    assert found.guidance == guidance and found.milliseconds > 0


def test_scenes_are_averaged():
    both = contest(small(), crowd()[:2], "goal", HOW, Guidance("none"))
    each = [contest(small(), [scene], "goal", HOW, Guidance("none")) for scene in crowd()[:2]]
    assert both.mean_jfdeg == pytest.approx(np.mean([one.mean_jfdeg for one in each]), abs=1e-4)


def test_guidance_reaches_goals_better_than_none():
    how = replace(HOW, steps=5)
    none, ecm, ecmr = (
        contest(small(), crowd()[:4], "goal", how, Guidance(m, 0.4))
        for m in ("none", "ecm", "ecmr")
    )
    assert ecm.mean_jfdeg < 0.5 * none.mean_jfdeg > 2 * ecmr.mean_jfdeg


def test_the_table_has_a_line_for_each():
    text = table("goal", 3, [outcome("none", 0.8, 2.5, 1.25), outcome("ecm", 0.4, 0.5, 0.125)])
    title, head, first, second = text.strip().splitlines()
    assert title == "goal, 3 scenes" and "goal mean" in head and "ms a step" in head
    assert first.split() == ["none", "0.000", "2.500", "0.000", "1.250", "1.00"]
    assert second.split() == ["ecm,", "shaped", "0.4", "0.000", "0.500", "0.000", "0.125", "1.00"]


def test_outcomes_are_json():
    figures = outcome("ecm", 0.4, 0.5, 0.1).figures()
    assert figures["guidance"]["method"] == "ecm" and figures["mean_jfdeg"] == 0.5
