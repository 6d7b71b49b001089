"""Between the steps: who is where, and where bodies look."""

from dataclasses import replace

import numpy as np
import pytest

from domains.trajectory import playback
from domains.trajectory.scene import Scene
from tests.trajectory.pictured import DT, forecast, street


def test_a_gap_and_a_lost_agent_are_not_drawn():
    scene = street()
    valid = scene.valid.copy()
    valid[0, 2] = False  # a gap
    valid[1, 3:] = False  # lost before now
    valid[2, [0, 1, 3, 4]] = False  # a lone step
    found = forecast(replace(scene, valid=valid), agents=[0, 2])
    times = np.arange(-5, 2) * DT
    there = np.isfinite(playback.motion(found, 0, times).headings)
    assert there[0].tolist() == [True, True, False, True, True, True, True]
    assert there[1].tolist() == [True, True, True, False, False, False, False]
    assert there[2].tolist() == [False, False, True, False, False, True, True]


def straight(speeds, headings, dt=0.5):
    """One car a speed that drives along x, stops, and is recorded with given headings."""
    steps = np.cumsum(np.asarray(speeds) * dt)
    positions = np.stack([steps, np.zeros_like(steps)], -1)[None]
    return Scene(
        "line", ("a",), ("vehicle",), positions, np.asarray(headings)[None],
        np.ones((1, len(steps)), bool), len(steps) - 1, dt,
    )  # fmt: skip


def test_motion_is_smooth_and_never_passes_its_steps():
    scene = straight([4, 4, 4, 4], [0, 0, 0, 0])
    found = forecast(scene, worlds=1)
    later = 8 + np.array([2, 3, 3, 3, 3, 3, 3, 3, 3, 3.0])  # brakes, and stands
    found = replace(found, worlds=np.stack([later, 0 * later], -1)[None, None], dt=0.5)
    times = np.linspace(-1.5, 5, 400)
    moved = playback.motion(found, 0, times).positions[0, :, 0]
    assert (np.diff(moved) >= -1e-9).all()
    assert moved.max() <= 11 + 1e-9
    assert np.abs(np.diff(moved)).max() < 4.5 * (times[1] - times[0])
    constant = times < -0.5  # before the braking, on a line
    np.testing.assert_allclose(moved[constant], 8 + 4 * times[constant], atol=1e-9)


def test_headings_follow_the_motion_and_stay_when_it_stops():
    times = np.arange(1.0, 7)
    quarter = np.array([[0, 0], [2, 0], [4, 0], [4, 2], [4, 2], [4.1, 2.0]], float)
    found = playback.headings_along(times, quarter, 0.3)
    expected = [0, 0, np.pi / 4, np.pi / 2, np.pi / 2, np.pi / 2]
    np.testing.assert_allclose(found, expected)
    still = playback.headings_along(times, np.zeros((6, 2)), 0.3)
    np.testing.assert_allclose(still, 0.3)


def test_a_body_turns_the_short_way():
    scene = straight([0.0, 0.0], [np.pi - 0.1, -np.pi + 0.1])
    found = forecast(scene, worlds=1)
    middle = playback.motion(found, 0, np.array([-0.25])).headings[0, 0]
    assert np.cos(middle) == pytest.approx(-1)
