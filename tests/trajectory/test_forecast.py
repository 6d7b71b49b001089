"""Forecasts: what they refuse, and what happened at their steps."""

from dataclasses import replace

import numpy as np
import pytest

from domains.trajectory.forecast import Forecast
from tests.trajectory.crowds import NOW, crowd

AGENTS = np.array([3, 0])
WORLDS = np.random.default_rng(0).normal(size=(3, 2, 4, 2))
CHANCES = np.array([0.5, 0.5, 0.0])


def forecast(**parts):
    whole = {"scene": crowd(), "agents": AGENTS, "worlds": WORLDS, "dt": 0.5}
    return Forecast(**{**whole, "probabilities": CHANCES, **parts})


def absent():
    scene = crowd()
    valid = scene.valid.copy()
    valid[3, NOW] = False
    return replace(scene, valid=valid)


def with_nan():
    worlds = WORLDS.copy()
    worlds[1, 1, 2, 0] = np.nan
    return worlds


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"worlds": np.zeros(3)}, r"worlds need shape \(K, 2, F, 2\), got \(3,\)"),
        ({"worlds": np.zeros(())}, r"worlds need shape \(K, 2, F, 2\), got \(\)"),
        ({"worlds": np.zeros((3, 2, 4))}, r"need shape \(K, 2, F, 2\), got \(3, 2, 4\)"),
        ({"worlds": np.zeros((3, 1, 4, 2))}, r"shape \(K, 2, F, 2\), got \(3, 1, 4, 2\)"),
        ({"worlds": np.zeros((3, 2, 4, 3))}, r"shape \(K, 2, F, 2\), got \(3, 2, 4, 3\)"),
        ({"worlds": with_nan()}, "a world has a coordinate that is no number"),
        ({"worlds": WORLDS + np.inf}, "a world has a coordinate that is no number"),
        ({"probabilities": np.ones(2) / 2}, r"probabilities need shape \(3,\), .* got \(2,\)"),
        ({"probabilities": np.ones((3, 1)) / 3}, r"need shape \(3,\), .* got \(3, 1\)"),
        ({"probabilities": np.array([1.2, -0.2, 0])}, "0 or more .* got -0.2 at least"),
        ({"probabilities": np.ones(3)}, "the sum 1, got 1 at least and the sum 3; divide"),
        ({"probabilities": np.full(3, np.nan)}, "the sum 1, got nan at least"),
        ({"worlds": WORLDS[:0], "probabilities": np.ones(0)}, "the sum 1, .* and the sum 0"),
        ({"agents": np.array([0, 5])}, "there is no agent 5; give indices below 5"),
        ({"agents": np.array([-1, 0])}, "there is no agent -1; give indices below 5"),
        ({"agents": np.array([0, 0])}, r"predicted once each, got \[0, 0\]; drop the repeats"),
        ({"agents": np.array([0.0, 1.0])}, "one axis of whole numbers, got float64 of shape"),
        ({"agents": np.array([True, False])}, "one axis of whole numbers, got bool"),
        ({"agents": np.array(0)}, r"one axis of whole numbers, got int64 of shape \(\)"),
        ({"scene": absent()}, "agent p3 is not seen now, where its path begins; leave it out"),
        ({"dt": 0.0}, "dt is a positive time in seconds, got 0.0"),
        ({"dt": float("nan")}, "dt is a positive time in seconds, got nan"),
        ({"dt": float("inf")}, "dt is a positive time in seconds, got inf"),
        ({"goals": (("g", np.zeros(3), None),)}, "the goal 'g' needs a point of two finite"),
        ({"goals": (("g", np.full(2, np.nan), 0),)}, "the goal 'g' needs a point of two finite"),
        ({"goals": (("g", np.zeros(2), 5),)}, "the goal 'g' is of agent 5, but the scene has 5"),
        ({"goals": (("g", np.zeros(2), -1),)}, "the goal 'g' is of agent -1, but the scene"),
    ],
)
def test_mistakes_are_one_sentence(parts, said):
    with pytest.raises(ValueError, match=said) as error:
        forecast(**parts)
    assert str(error.value).startswith("crowd-0: ")


def test_what_is_right_is_kept():
    goals = (("end", np.ones(2), 3), ("place", np.zeros(2), None))
    found = forecast(goals=goals)
    assert found.worlds is WORLDS and found.goals is goals
    assert forecast(probabilities=np.array([1 + 1e-9, 0, 0])).probabilities[0] > 1
    nobody = forecast(agents=np.zeros(0, int), worlds=np.zeros((3, 0, 4, 2)))
    assert nobody.truth().shape == (0, 4, 2)


def test_the_truth_is_what_happened_in_the_order_of_the_agents():
    scene = crowd()
    found = forecast(agents=np.array([4, 0])).truth()
    np.testing.assert_array_equal(found[1], scene.positions[0, NOW + 1 :])
    np.testing.assert_array_equal(found[0, 0], scene.positions[4, NOW + 1])
    assert np.isnan(found[0, 1:]).all()  # who has left


def test_the_truth_at_coarser_steps_and_after_the_end():
    scene = crowd()
    found = forecast(dt=1.0).truth()
    np.testing.assert_array_equal(found[0, :2], scene.positions[3, [NOW + 2, NOW + 4]])
    assert np.isnan(found[:, 2:]).all()
    assert np.isnan(forecast(scene=scene.history()).truth()).all()


@pytest.mark.parametrize("dt", [0.2, 0.7])
def test_steps_between_those_of_the_scene_have_no_truth(dt):
    with pytest.raises(ValueError, match=f"steps {dt} s, which is no multiple of the scene's 0.5"):
        forecast(dt=dt).truth()


@pytest.mark.parametrize("dt", [0.992, 1.008])
def test_steps_that_fit_to_two_percent_have_the_truth_that_a_model_is_scored_by(dt):
    np.testing.assert_array_equal(forecast(dt=dt).truth(), forecast(dt=1.0).truth())
