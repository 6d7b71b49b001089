"""Scenes: what they refuse, who is in them, and headings that never look ahead."""

from dataclasses import replace

import numpy as np
import pytest

from domains.trajectory.scene import STILL, Scene, directions
from tests.trajectory.crowds import NOW, crowd, road


def wrong(name, value):
    return lambda: replace(crowd(), **{name: value})


def nan_at(part, a, step):
    scene = crowd()
    array = getattr(scene, part).copy()
    array[a, step] = np.nan
    return array


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (wrong("valid", np.ones(5, bool)), r"valid needs shape \(A, T\) and booleans, got \(5,\)"),
        (wrong("valid", np.ones((5, 9))), r"and booleans, got \(5, 9\) of float64"),
        (wrong("positions", np.zeros((5, 8, 2))), r"positions needs shape \(5, 9, 2\), got \(5, 8"),
        (wrong("headings", np.zeros((4, 9))), r"headings needs shape \(5, 9\), got \(4, 9\)"),
        (wrong("ids", ("a", "b")), r"ids needs shape \(5,\), got \(2,\)"),
        (wrong("kinds", ("bus",)), r"kinds needs shape \(5,\), got \(1,\)"),
        (wrong("scored", np.ones(3, bool)), r"scored needs shape \(5,\), got \(3,\)"),
        (wrong("ids", ("a", "b", "c", "b", "e")), "two agents have the id 'b'; rename one"),
        (wrong("kinds", ("bus",) * 4 + ("horse",)), "unknown kind 'horse'; expected one of"),
        (wrong("now", 9), "now is one of the 9 steps, got 9"),
        (wrong("now", -1), "now is one of the 9 steps, got -1"),
        (wrong("dt", 0.0), "dt is a positive time in seconds, got 0.0"),
        (wrong("dt", float("nan")), "dt is a positive time in seconds, got nan"),
        (wrong("dt", float("inf")), "dt is a positive time in seconds, got inf"),
        (wrong("positions", nan_at("positions", 0, 6)), "agent p0 has a position .* at step 6"),
        (wrong("headings", nan_at("headings", 3, 0)), "p3 has a position or heading .* at step 0"),
        (lambda: crowd().agent("x"), "crowd-0 has no agent 'x'; it has 5: p0, p1, p2, p3, p4"),
    ],
)
def test_mistakes_are_one_sentence(make, said):
    with pytest.raises(ValueError, match=said) as error:
        make()
    assert ". " not in str(error.value)


def test_what_is_not_valid_is_never_asked_for():
    scene = crowd()
    positions, headings = scene.positions.copy(), scene.headings.copy()
    positions[~scene.valid], headings[~scene.valid] = np.nan, np.inf
    other = replace(scene, positions=positions, headings=headings)
    np.testing.assert_array_equal(other.velocities(), scene.velocities())


def test_counts_and_who_is_seen():
    scene = replace(crowd(), valid=crowd().valid & (np.arange(5) != 0)[:, None])
    assert (scene.agents, scene.horizon) == (5, 4)
    assert scene.present.tolist() == [False, True, True, True, True]
    assert scene.agent("p3") == 3


def test_the_history_is_all_but_the_future():
    scene = crowd(road=road())
    past = scene.history()
    assert past.horizon == 0 and past.now == NOW and past.road is scene.road
    assert past.positions.shape == (5, NOW + 1, 2)
    np.testing.assert_array_equal(past.positions, scene.positions[:, : NOW + 1])
    np.testing.assert_array_equal(past.headings, scene.headings[:, : NOW + 1])
    np.testing.assert_array_equal(past.velocities(), scene.velocities())


def test_a_part_of_the_agents_in_another_order():
    scene = replace(crowd(), scored=np.array([True, False, True, False, True]))
    part = scene.of([4, 1])
    assert part.ids == ("p4", "p1") and part.kinds == (scene.kinds[4], scene.kinds[1])
    assert part.scored.tolist() == [True, False]
    np.testing.assert_array_equal(part.positions, scene.positions[[4, 1]])
    np.testing.assert_array_equal(part.velocities(), scene.velocities()[[4, 1]])
    np.testing.assert_array_equal(part.headings[1], scene.headings[1])
    assert crowd().of([0]).scored is None and crowd().of([]).agents == 0


def scene_of(positions, valid, now=3, dt=0.5):
    positions, valid = np.array(positions, float)[None], np.array(valid, bool)[None]
    headings = directions(positions, valid, now)
    return Scene("one", ("a",), ("vehicle",), positions, headings, valid, now, dt)


def test_velocities_are_those_of_the_last_two_steps_seen():
    way = [(0, 0), (1, 0), (2, 1), (4, 1), (9, 9)]
    everywhere = scene_of(way, [1, 1, 1, 1, 1]).velocities()
    np.testing.assert_allclose(everywhere, [[4, 0]])
    gap = scene_of(way, [1, 1, 0, 1, 1]).velocities()
    np.testing.assert_allclose(gap, [[3, 1]])
    lost = scene_of(way, [1, 1, 1, 0, 0]).velocities()
    np.testing.assert_allclose(lost, [[2, 2]])
    point = scene_of(way, [0, 0, 0, 1, 1]).velocities()
    np.testing.assert_array_equal(point, [[0, 0]])


def test_headings_are_those_of_the_last_move():
    way = [(0, 0), (0.01, 0.01), (0, 1), (0, 1), (-1, 1), (-1, 1.04)]
    found = scene_of(way, [1] * 6, now=4).headings[0]
    up = np.arctan2(0.99, -0.01)
    np.testing.assert_allclose(found, [up, up, up, up, np.pi, np.pi])
    assert abs(0.04) < STILL


def test_headings_across_a_gap_and_of_points():
    way = [(0, 0), (7, 7), (0, 2), (2, 2), (2, 2)]
    found = scene_of(way, [1, 0, 1, 1, 1]).headings[0]
    np.testing.assert_allclose(found, [np.pi / 2, 0, np.pi / 2, 0, 0])
    late = scene_of(way, [0, 0, 0, 1, 0]).headings[0]
    np.testing.assert_array_equal(late, 0)
    nobody = scene_of(way, [0] * 5).headings[0]
    np.testing.assert_array_equal(nobody, 0)


def test_who_stood_until_now_has_no_direction_before():
    way = [(0, 0), (0, 0), (0, 0), (0, 0), (0, 3), (3, 3)]
    found = scene_of(way, [1] * 6, now=3).headings[0]
    np.testing.assert_allclose(found, [0, 0, 0, 0, np.pi / 2, 0])
    earlier = scene_of(way, [1] * 6, now=4).headings[0]
    np.testing.assert_allclose(earlier, [np.pi / 2] * 5 + [0])


def test_no_heading_of_the_history_depends_on_the_future():
    """Random tracks with gaps, of people who stand at first, for every step that could be now."""
    random = np.random.default_rng(0)
    agents, steps = 40, 9
    for now in range(steps):
        moves = random.normal(0, 1, (agents, steps, 2))
        moves[np.arange(steps) < random.integers(0, steps, agents)[:, None]] *= 0.01
        positions = moves.cumsum(1)
        valid = random.random((agents, steps)) < 0.8
        found = directions(positions, valid, now)
        other, seen = positions.copy(), valid.copy()
        other[:, now + 1 :] = random.normal(0, 50, other[:, now + 1 :].shape)
        seen[:, now + 1 :] = random.random(seen[:, now + 1 :].shape) < 0.5
        past = slice(now + 1)
        np.testing.assert_array_equal(directions(other, seen, now)[:, past], found[:, past])
        alone = directions(positions[:, past], valid[:, past], now)
        np.testing.assert_array_equal(alone, found[:, past])
        if now:
            assert np.abs(found[:, past]).max() > 0.5  # the test would see a direction
