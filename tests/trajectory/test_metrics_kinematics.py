"""Speed, curvature and limits on motions whose values are known."""

import re

import numpy as np
import pytest

from domains.trajectory.metrics import (
    accelerations,
    curvatures,
    feasible,
    jerks,
    motion_statistics,
    speeds,
    target_speed_errors,
)

TIMES = np.arange(1, 61) / 10
LOOSE = {"acceleration": 100.0, "lateral": 100.0, "curvature": 100.0}


def along_x(x):
    return np.stack([x, np.zeros_like(x)], -1)[None, None]


def circle(radius, speed):
    angle = speed / radius * TIMES
    return radius * np.stack([np.cos(angle), np.sin(angle)], -1)[None, None]


def test_speeds_are_those_of_chords():
    np.testing.assert_allclose(speeds(along_x(7 * TIMES), 0.1), np.full((1, 1, 5), 7.0))
    np.testing.assert_allclose(speeds(along_x(7 * TIMES), 0.1, 0.5), np.full((1, 1, 11), 7.0))
    quadratic = speeds(along_x(TIMES**2), 0.1)[0, 0]
    at = TIMES[:-1:10]
    np.testing.assert_allclose(quadratic, 2 * at[:5] + 1)


def test_curvature_of_a_circle():
    found = curvatures(circle(20.0, 8.0), 0.1)
    np.testing.assert_allclose(found, np.full((1, 1, 4), 1 / 20))
    np.testing.assert_allclose(curvatures(circle(20.0, 8.0)[..., ::-1], 0.1), found)
    np.testing.assert_allclose(curvatures(along_x(9 * TIMES), 0.1), 0, atol=1e-12)


def test_short_sides_have_no_curvature():
    slow = circle(20.0, 2.9)  # chords of a second are below 3 m
    assert not curvatures(slow, 0.1).any()
    np.testing.assert_allclose(curvatures(slow, 0.1, shortest=0.0), 1 / 20)
    still = np.zeros((1, 1, 60, 2))
    assert not curvatures(still, 0.1, shortest=0.0).any()
    there_and_back = along_x(np.array([0.0, 4, 0.5]))  # the third side alone is short
    there_and_back[..., 1, 1] = 1.0
    assert not curvatures(there_and_back, 1.0).any()
    assert curvatures(there_and_back, 1.0, shortest=0.4).all()


@pytest.mark.parametrize(
    ("worlds", "name", "value"),
    [
        (along_x(TIMES**2), "acceleration", 2.0),
        (along_x(30 * TIMES - TIMES**2), "acceleration", 2.0),
        (circle(20.0, 8.0), "curvature", 1 / 20),
        (circle(20.0, 8.0), "lateral", (2 * 20 * np.sin(8 / 20 / 2)) ** 2 / 20),
    ],
)
def test_limits_bind_where_they_should(worlds, name, value):
    assert feasible(worlds, 0.1, **LOOSE).all()
    assert feasible(worlds, 0.1, **(LOOSE | {name: value + 1e-6})).all()
    assert not feasible(worlds, 0.1, **(LOOSE | {name: value - 1e-6})).any()


def test_a_change_of_speed_is_by_the_second():
    worlds = along_x(TIMES**2)
    limits = {most: LOOSE | {"acceleration": most} for most in (1.9, 2.1)}
    assert not feasible(worlds, 0.1, spacing=0.5, **limits[1.9]).any()
    assert feasible(worlds, 0.1, spacing=0.5, **limits[2.1]).all()


def test_limits_are_strict_and_agents_apart():
    steps = np.array([0.0, 1, 4, 7])  # the speed grows by 2 at once
    worlds = np.concatenate([along_x(steps), along_x(np.arange(4.0))], 1)
    assert feasible(worlds, 1.0, **(LOOSE | {"acceleration": 2.0})).tolist() == [[False, True]]
    assert feasible(worlds, 1.0, **(LOOSE | {"acceleration": 2.0000001})).all()


def test_the_speed_before_a_bend_decides():
    corner = np.array([[0.0, 0], [4, 0], [4, 8]])[None, None]
    lateral = 4.0**2 * curvatures(corner, 1.0).item()
    assert curvatures(corner, 1.0).item() == pytest.approx(1 / (np.hypot(4, 8) / 2))  # Thales
    assert feasible(corner, 1.0, **(LOOSE | {"lateral": lateral + 1e-9})).all()
    assert not feasible(corner, 1.0, **(LOOSE | {"lateral": lateral - 1e-9})).any()


def test_target_speed_is_that_of_the_last_second():
    worlds = along_x(np.append(5 * TIMES[:-10], 5 * TIMES[-11] + 3 * np.arange(1, 11) / 10))
    assert target_speed_errors(worlds, 0.1, 3.0) == pytest.approx(0)
    assert target_speed_errors(worlds, 0.1, 5.0) == pytest.approx(2)
    two = np.concatenate([worlds, along_x(TIMES)], 1)
    np.testing.assert_allclose(target_speed_errors(two, 0.1, [3.0, 3.0]), [[0, 2]], atol=1e-9)


def test_acceleration_and_jerk_of_a_cubic():
    worlds = np.stack([TIMES**3, 2 * TIMES**3], -1)[None, None]
    size = np.sqrt(5)
    np.testing.assert_allclose(jerks(worlds, 0.1), np.full((1, 1, 57), 6 * size))
    np.testing.assert_allclose(accelerations(worlds, 0.1)[0, 0], 6 * size * TIMES[1:-1])
    found = motion_statistics(worlds, 0.1)
    assert found["jerk_mean"] == pytest.approx(6 * size)
    assert found["jerk_p95"] == pytest.approx(found["jerk_max"])
    assert found["acceleration_mean"] == pytest.approx(6 * size * TIMES[1:-1].mean())
    assert found["acceleration_max"] == pytest.approx(6 * size * TIMES[-2])
    middle = np.sort(TIMES[1:-1])  # 58 values: 95 % lies between the 55th and the 56th
    expected = middle[54] + 0.15 * (middle[55] - middle[54])
    assert found["acceleration_p95"] == pytest.approx(6 * size * expected)
    assert set(motion_statistics(worlds * 0, 0.1).values()) == {0.0}


def test_mistakes_are_named():
    worlds = np.zeros((1, 2, 5, 2))
    cases = [
        (lambda: speeds(worlds, 0.4), "1 s is no multiple of dt = 0.4 s; choose 0.8 s"),
        (lambda: speeds(worlds, 2.0), "1 s is no multiple of dt = 2 s; choose 2 s"),
        (lambda: speeds(worlds, 0.0), "dt is a positive number, got 0"),
        (lambda: speeds(worlds, 0.1, -1.0), "spacing is a positive number, got -1"),
        (lambda: speeds(worlds, 0.1), "5 steps has 1 points 1 s apart, and 2 are needed"),
        (lambda: curvatures(worlds, 0.25), "5 steps has 2 points 1 s apart, and 3 are needed"),
        (lambda: feasible(worlds, 0.1, **(LOOSE | {"lateral": 0})), "lateral is a positive number"),
        (lambda: target_speed_errors(worlds, 1.0, [1.0]), "one finite target speed, or (2,)"),
        (lambda: target_speed_errors(worlds, 1.0, np.nan), "one finite target speed, or (2,)"),
        (lambda: accelerations(worlds[:, :, :2], 0.1), "order 2 need 3 steps, got 2"),
        (lambda: jerks(worlds[:, :, :3], 0.1), "order 3 need 4 steps, got 3"),
        (lambda: jerks(worlds, float("nan")), "dt is a positive number, got nan"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=re.escape(message)):
            call()
