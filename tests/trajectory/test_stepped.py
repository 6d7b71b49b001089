"""Scenes at other steps, against closed forms."""

from dataclasses import replace

import numpy as np
import pytest

from domains.trajectory.resampling import stepped
from domains.trajectory.scene import Scene


def moving(steps: int = 16, now: int = 8, dt: float = 0.2) -> Scene:
    """Two agents at constant velocity, whose headings cross the cut at pi."""
    time = dt * (np.arange(steps) - now)
    positions = np.stack([np.stack([3 * time, -time], -1), np.stack([1 - time, 2 * time], -1)])
    headings = np.stack([3.0 + 0.5 * time, np.full(steps, -1.0)])
    headings = np.arctan2(np.sin(headings), np.cos(headings))
    valid = np.ones((2, steps), bool)
    valid[1, 3] = False
    return Scene("s", ("a", "b"), ("vehicle",) * 2, positions, headings, valid, now, dt)


def test_positions_and_headings_lie_on_the_same_paths() -> None:
    scene = stepped(moving(), 0.5)
    assert (scene.dt, scene.now, scene.valid.shape[1]) == (0.5, 3, 6)  # 1.6 s before, 1.4 s after
    time = 0.5 * (np.arange(6) - 3)
    assert np.allclose(scene.positions[0], np.stack([3 * time, -time], -1))
    turn = scene.headings[0] - (3.0 + 0.5 * time)
    assert np.allclose(np.sin(turn), 0, atol=1e-9) and np.allclose(np.cos(turn), 1)


def test_a_step_is_seen_where_both_sides_of_it_are() -> None:
    # New steps at 0.5, 3, 5.5, 8, ... old ones; the second agent was not seen at the third.
    assert stepped(moving(), 0.5).valid[1].tolist() == [True, False, True, True, True, True]


def test_nothing_before_now_depends_on_the_future() -> None:
    scene = moving()
    other = replace(scene, positions=scene.positions.copy(), headings=scene.headings.copy())
    other.positions[:, 9:] += 100
    other.headings[:, 9:] += 1
    one, two = stepped(scene, 0.5), stepped(other, 0.5)
    assert np.array_equal(one.positions[:, : one.now + 1], two.positions[:, : two.now + 1])
    assert np.array_equal(one.headings[:, : one.now + 1], two.headings[:, : two.now + 1])
    assert not np.allclose(one.positions[:, one.now + 1 :], two.positions[:, two.now + 1 :])


def test_its_own_steps_leave_a_scene_alone() -> None:
    scene = moving()
    assert stepped(scene, 0.2) is scene


def test_a_time_that_is_not_positive_is_refused() -> None:
    with pytest.raises(ValueError, match="positive dt, got -1"):
        stepped(moving(), -1)
    with pytest.raises(ValueError, match="positive dt, got inf"):
        stepped(moving(), float("inf"))


@pytest.mark.parametrize("dt", [1e-7, 1e-320])
def test_a_time_that_makes_too_many_steps_is_refused(dt: float) -> None:
    with pytest.raises(ValueError, match=f"would have more than 100000 steps of {dt} s; take a"):
        stepped(moving(), dt)
