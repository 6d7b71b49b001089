"""Tasks: what is asked of whom, by hand."""

from dataclasses import replace

import numpy as np
import pytest

from domains.trajectory.prepared import prepare, split
from domains.trajectory.tasks import demands, truth_of
from tests.trajectory.small_predictor import HISTORY, MODEL, small, walkers

SCENE = walkers(3)
NOW = HISTORY - 1


def asked(task, *scenes, seed=0):
    return demands(task, prepare(small(), scenes or [SCENE]), seed)


@pytest.mark.parametrize(
    ("task", "place", "due"),
    [("goal", -1, 5), ("deceleration", NOW + 5, 5), ("acceleration", -1, 4)],
)
def test_goals_of_what_happened(task, place, due):
    """Six steps: 5/6 of the time is step 5, whose index is 4."""
    (demand,) = asked(task)
    np.testing.assert_allclose(demand.goals, SCENE.positions[:, place])
    np.testing.assert_allclose(demand.routes, SCENE.positions[:, NOW:])
    assert demand.step == due and demand.agents.tolist() == [0, 1, 2]


def test_routes_are_marginal_modes_drawn_for_each_agent():
    prepared = prepare(small(), [SCENE])
    (modes,) = split(prepared, prepared.decode(prepared.references().flatten(0, 1)))
    drawn = np.zeros((3, MODEL.modes), int)
    for seed in range(60):
        (demand,) = asked("route", seed=seed)
        np.testing.assert_allclose(demand.routes[:, 0], SCENE.positions[:, NOW])
        np.testing.assert_allclose(demand.goals, demand.routes[:, -1])
        assert demand.step == 5
        for n in range(3):
            gaps = np.abs(modes[:, n] - demand.routes[n, 1:]).max((1, 2))
            assert gaps.min() < 1e-5
            drawn[n, gaps.argmin()] += 1
    assert (drawn > 8).all()  # of 20 each
    (again,) = asked("route", seed=59)
    np.testing.assert_array_equal(again.goals, demand.goals)


def test_who_is_not_known_whole_is_not_asked():
    valid = SCENE.valid.copy()
    valid[1, -1] = False
    (demand,) = asked("goal", replace(SCENE, valid=valid))
    assert demand.agents.tolist() == [0, 2]
    np.testing.assert_allclose(demand.goals, SCENE.positions[[0, 2], -1])


def test_places_are_those_among_the_agents_seen_now():
    valid = SCENE.valid.copy()
    valid[0, NOW] = False
    (demand,) = asked("goal", replace(SCENE, valid=valid))
    assert demand.agents.tolist() == [0, 1]
    np.testing.assert_allclose(demand.goals, SCENE.positions[[1, 2], -1])


def test_the_truth_is_at_the_steps_of_the_model():
    """A recording that is twice as fine, and one that ends early."""
    count = SCENE.positions.shape[1]
    positions = np.repeat(SCENE.positions, 2, axis=1)
    positions[:, 1::2] += 100.0
    fine = replace(
        SCENE,
        positions=positions,
        headings=np.repeat(SCENE.headings, 2, axis=1),
        valid=np.ones((3, 2 * count), bool),
        now=2 * NOW,
        dt=SCENE.dt / 2,
    )
    np.testing.assert_array_equal(
        truth_of(prepare(small(), [fine]), 0), SCENE.positions[:, HISTORY:]
    )
    short = replace(
        SCENE,
        positions=SCENE.positions[:, :-2],
        headings=SCENE.headings[:, :-2],
        valid=SCENE.valid[:, :-2],
    )
    truth = truth_of(prepare(small(), [short]), 0)
    np.testing.assert_array_equal(truth[:, :4], SCENE.positions[:, HISTORY:-2])
    assert np.isnan(truth[:, 4:]).all()


def test_a_scene_without_a_known_future_has_no_task():
    with pytest.raises(ValueError, match="no agent's future is known, so there is no task"):
        asked("goal", SCENE.history())
