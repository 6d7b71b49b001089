"""Effectiveness and realism of guidance, by hand and by loops."""

import re
from itertools import pairwise

import numpy as np
import pytest

from domains.trajectory.metrics import goal_errors, guidance_scores, route_errors


def test_goals_by_loops():
    rng = np.random.default_rng(1)
    worlds, goals = rng.normal(size=(4, 3, 6, 2)), rng.normal(size=(3, 2))
    for step in (0, 3, 5):
        expected = [
            np.mean([np.hypot(*(world[n, step] - goals[n])) for n in range(3)]) for world in worlds
        ]
        np.testing.assert_allclose(goal_errors(worlds, goals, step), expected)


def test_agents_without_a_goal_do_not_count():
    worlds = np.zeros((2, 3, 2, 2))
    worlds[1, 0, 1] = (3, 4)
    worlds[:, 1] = 100
    goals = np.array([[0.0, 0], [np.nan, np.nan], [0, 1]])
    np.testing.assert_allclose(goal_errors(worlds, goals, 1), [0.5, 3.0])


@pytest.mark.parametrize("segments", [False, True])
def test_routes_by_loops(segments):
    rng = np.random.default_rng(6)
    worlds, routes = rng.normal(size=(3, 2, 5, 2)), [rng.normal(size=(n, 2)) for n in (4, 7)]
    step = 3

    def distance(point, route):
        if segments:  # so many points on the way that they are as good as the segments
            share = np.linspace(0, 1, 20001)[:, None]
            route = np.concatenate([a + share * (b - a) for a, b in pairwise(route)])
        return np.hypot(*(route - point).T).min()

    expected = [
        np.mean([[distance(world[n, f], routes[n]) for f in range(step + 1)] for n in range(2)])
        for world in worlds
    ]
    found = route_errors(worlds, routes, step, segments)
    np.testing.assert_allclose(found, expected, atol=1e-6 if segments else 1e-12)


def test_speed_along_the_route_is_free():
    route = np.stack([np.arange(11.0), np.zeros(11)], -1)
    slow = route[None, None, :6]
    late = slow + np.array([0.5, 0.0])
    assert route_errors(slow, [route], 5) == 0
    assert route_errors(late, [route], 5) == 0.5  # half-way between two points
    assert route_errors(late, [route], 5, segments=True) == 0
    assert (
        route_errors(slow - np.array([2.0, 0.0]), [route], 0, segments=True) == 2
    )  # before its begin
    assert goal_errors(slow, route[None, -1], 5) == 5


def test_steps_after_the_task_do_not_count():
    worlds, route = np.zeros((1, 1, 4, 2)), np.zeros((1, 2))
    worlds[0, 0, :, 0] = [0, 2, 4, 90]
    assert route_errors(worlds, [route], 2) == 2
    assert route_errors(worlds, [route], 2, segments=True) == 2


def test_points_that_were_not_seen_are_left_out():
    rng = np.random.default_rng(9)
    worlds, truth = rng.normal(size=(2, 2, 5, 2)), rng.normal(size=(2, 5, 2))
    truth[0, 2] = np.nan
    routes = [truth[0, [0, 1, 3, 4]], truth[1]]
    for segments in (False, True):
        np.testing.assert_array_equal(
            route_errors(worlds, truth, 4, segments), route_errors(worlds, routes, 4, segments)
        )


def test_scores_are_minima_and_means_over_worlds():
    rng = np.random.default_rng(0)
    worlds, goals = rng.normal(size=(5, 3, 4, 2)), rng.normal(size=(3, 2))
    routes = rng.normal(size=(3, 4, 2))
    found = guidance_scores(worlds, goals, routes, 2)
    goal, route = goal_errors(worlds, goals, 2), route_errors(worlds, routes, 2)
    assert (found.min_jfdeg, found.mean_jfdeg) == (goal.min(), goal.mean())
    assert (found.min_jrde, found.mean_jrde) == (route.min(), route.mean())
    nearer = guidance_scores(worlds, goals, routes, 2, segments=True)
    assert nearer.mean_jrde == route_errors(worlds, routes, 2, segments=True).mean()
    assert nearer.mean_jrde < found.mean_jrde
    assert nearer.mean_jfdeg == found.mean_jfdeg
    k, n = rng.permutation(5), rng.permutation(3)
    other = guidance_scores(worlds[k][:, n], goals[n], routes[n], 2)
    assert vars(other) == pytest.approx(vars(found), abs=1e-12)


def test_mistakes_are_named():
    worlds, goals, routes = np.zeros((2, 3, 4, 2)), np.zeros((3, 2)), np.zeros((3, 5, 2))
    cases = [
        (lambda: goal_errors(worlds, goals[:2], 0), "3 agents need finite goals (3, 2), got shape"),
        (lambda: goal_errors(worlds, goals + np.inf, 0), "write NaN for an agent without one"),
        (lambda: goal_errors(worlds, goals * np.nan, 0), "no agent has a goal"),
        (lambda: goal_errors(worlds, goals, 4), "index from 0 to 3 into the forecast, got 4"),
        (lambda: goal_errors(worlds, goals, -1), "index from 0 to 3 into the forecast, got -1"),
        (lambda: route_errors(worlds, routes, 4), "index from 0 to 3 into the forecast, got 4"),
        (lambda: route_errors(worlds, routes[:2], 0), "3 agents need as many routes, got 2"),
        (lambda: route_errors(worlds, routes[..., :1], 0), "route of agent 0 needs finite points"),
        (lambda: route_errors(worlds, routes * np.nan, 0), "route of agent 0 has no points"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=re.escape(message)):
            call()
