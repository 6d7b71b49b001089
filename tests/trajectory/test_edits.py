"""Edits of a scene: the history stays consistent, and the future goes."""

from dataclasses import replace

import numpy as np
import pytest

from domains.trajectory.costs import edited, parse_edit
from domains.trajectory.costs.edits import EDITS
from tests.trajectory.small_scene import ORIGIN, scene

LINES = [
    "agent 1: move by (1, 0)",
    "agent 1: at (12, 4)",
    "agent 1: speed x 0.5",
    "agent 1: speed = 4",
    "remove agent 2",
    "copy agent 1 by (4, 0)",
    'copy agent 1 as "my twin" by (4, 0)',
    "add pedestrian anna at (2, 1) towards (2, 9) with speed 1.4",
    "add vehicle parked at (2, 1) towards (3, 1)",
]


def long(future=5):
    """Return the small scene with a future."""
    now = scene()
    steps = 3 + future
    positions = np.zeros((3, steps, 2))
    positions[:, :3] = now.positions
    return replace(
        now,
        positions=positions,
        headings=np.pad(now.headings, ((0, 0), (0, future))),
        valid=np.ones((3, steps), bool),
    )


def after(*lines, of=None):
    return edited(of or long(), [parse_edit(line) for line in lines])


@pytest.mark.parametrize("line", LINES)
def test_edits_are_written_as_they_are_read(line):
    assert str(parse_edit(line)) == line


def test_the_lines_have_every_edit():
    assert {type(parse_edit(line)) for line in LINES} == set(EDITS)


@pytest.mark.parametrize("line", LINES)
def test_the_future_goes_and_the_scene_is_not_touched(line):
    before = long()
    kept = before.positions.copy()
    found = after(line, of=before)
    assert found.horizon == 0
    assert found.now == before.now
    np.testing.assert_array_equal(before.positions, kept)


def test_no_edit_changes_nothing():
    assert edited(before := long(), []) is before


def test_moves_shift_the_past_too():
    history = scene().positions
    np.testing.assert_allclose(after(LINES[0]).positions[0], history[0] + [1, 0])
    np.testing.assert_array_equal(after(LINES[0]).positions[1:], history[1:])
    placed = after(LINES[1])
    np.testing.assert_allclose(placed.positions[0], [[10, 4], [11, 4], [12, 4]])
    np.testing.assert_allclose(placed.velocities()[0], [2, 0])


@pytest.mark.parametrize(("line", "speed"), [(LINES[2], 1.0), (LINES[3], 4.0)])
def test_speeds_are_those_of_the_past_and_agents_stay_where_they_are(line, speed):
    found = after(line)
    np.testing.assert_allclose(found.positions[0, -1], ORIGIN)
    np.testing.assert_allclose(found.velocities(), [[speed, 0], [2, 0], [0, 0]])


def test_who_stands_gets_a_past_along_its_heading():
    found = after("agent ego: speed = 1.5")
    np.testing.assert_allclose(found.velocities()[2], [0, 1.5], atol=1e-12)
    np.testing.assert_allclose(found.positions[2], [[100, 202.5], [100, 203.25], [100, 204]])
    np.testing.assert_allclose(after("agent 1: speed = 0").velocities()[0], 0)


def test_agents_come_and_go():
    assert after("remove agent 2").ids == ("1", "ego")
    twin = after("copy agent 1 by (4, 1)", "agent 1-copy: speed x 2")
    assert twin.ids == ("1", "2", "ego", "1-copy")
    assert twin.kinds[-1] == "vehicle"
    np.testing.assert_allclose(twin.positions[3, -1], [104, 201])
    np.testing.assert_allclose(twin.velocities()[3], [4, 0])
    found = after("add pedestrian anna at (2, 1) towards (2, 9) with speed 1.4")
    assert found.kinds[-1] == "pedestrian"
    np.testing.assert_allclose(found.positions[3], [[2, -0.4], [2, 0.3], [2, 1]], atol=1e-12)
    np.testing.assert_allclose(found.headings[3], np.pi / 2)
    assert after("add vehicle x at (2, 1) towards (3, 1)").velocities()[3] == pytest.approx(0)


def test_who_is_added_counts_where_somebody_does():
    of = replace(long(), scored=np.array([True, False, False]))
    assert after(LINES[-1], of=of).scored.tolist() == [True, False, False, True]
    assert after("remove agent 1", of=of).scored.tolist() == [False, False]
    assert after(LINES[-1]).scored is None


def test_gaps_in_a_history_stay_gaps():
    of = long()
    of.valid[0, 0] = False
    of.positions[0, 0] = np.nan
    found = after("copy agent 1 by (1, 1)", "agent 1: speed x 2", of=of)
    assert found.valid[[0, 3], 0].tolist() == [False, False]
    np.testing.assert_allclose(found.velocities()[[0, 3]], [[4, 0], [2, 0]])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("agent 9: move by (1, 0)", "'agent 9: move by (1, 0)': small has no agent '9'; it has 3"),
        ("agent 1: speed x -1", "a speed is scaled by 0 or more, got -1"),
        ("agent 1: speed = -1", "a speed is 0 or more, got -1"),
        ("agent 2: at (1, 2)", "agent 2 is not seen now; edit an agent that is"),
        ("agent 2: speed x 2", "agent 2 is not seen now; edit an agent that is"),
        ("copy agent 1 as ego by (1, 2)", "has an agent 'ego' already; choose another name"),
        ("add bus 1 at (1, 2) towards (2, 2)", "has an agent '1' already; choose another name"),
        ("add bus b at (1, 2) towards (1, 2)", "a point to look at other than its own"),
        ("add bus b at (1, 2) towards (3, 2) with speed -1", "needs a speed of 0 or more"),
    ],
)
def test_what_a_scene_does_not_allow(line, said):
    of = long()
    of.valid[1, 2] = False
    with pytest.raises(ValueError) as error:
        after(line, of=of)
    assert said in str(error.value)


def test_somebody_stays():
    with pytest.raises(ValueError, match="agent 1 is the only one; a scene needs somebody"):
        after("remove agent 2", "remove agent ego", "remove agent 1")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("agent 3: mvoe by (1, 0)", "got 'mvoe' at character 10, expected \"move\" or \"at\" or"),
        ("delete agent 3", "got 'delete' at character 1, expected one of agent, remove, copy, add"),
        ("remve agent 3", "expected \"remove\", as in: remove agent id"),
        ("add horse h at (1, 2) towards (2, 2)", "got 'horse' at character 5, expected"),
        ("remove agent 3; remove agent 4", "got ';' at character 15, expected the end"),
        ("remove agent", "got the end of the line, expected a"),
    ],
)  # fmt: skip
def test_errors_quote_the_edit_and_point_at_the_word(line, said):
    with pytest.raises(ValueError) as error:
        parse_edit(line)
    assert f"line 1, {line!r}: " in str(error.value)
    assert said in str(error.value)
