"""Scene files: there and back, and one sentence for whatever is wrong in them."""

import json
from dataclasses import replace

import numpy as np
import pytest

from domains.trajectory.forecast import Forecast
from domains.trajectory.scene_file import (
    forecast_in,
    read_forecast,
    read_scene,
    scene_object,
    write_forecast,
    write_scene,
)
from tests.trajectory.crowds import NOW, crowd, line, road

TENTH = 0.5001e-4  # of a coordinate in a file


def scored():
    return replace(crowd(road=road()), scored=np.array([True, False, True, False, True]))


def forecast(scene):
    worlds = np.random.default_rng(0).normal(0, 9, (3, 2, 4, 2))
    goals = (("end", np.array([1.5, -2.0]), 3), ("place", np.array([0.0, 7.25]), None))
    return Forecast(scene, np.array([3, 0]), worlds, 0.5, np.array([0.5, 0.3, 0.2]), goals)


def same(found, scene):
    assert (found.name, found.ids, found.kinds) == (scene.name, scene.ids, scene.kinds)
    assert (found.now, found.dt) == (scene.now, scene.dt)
    np.testing.assert_array_equal(found.valid, scene.valid)
    np.testing.assert_allclose(
        found.positions[found.valid], scene.positions[scene.valid], atol=TENTH
    )
    np.testing.assert_allclose(found.headings[found.valid], scene.headings[scene.valid], atol=TENTH)


@pytest.mark.parametrize("scene", [crowd(), crowd(3, road=road()), scored(), crowd().history()])
def test_scenes_there_and_back(tmp_path, scene):
    path = tmp_path / "folder" / "s.json"
    write_scene(path, scene)
    found = read_scene(path)
    same(found, scene)
    assert (found.scored is None) == (scene.scored is None)
    if scene.scored is not None:
        np.testing.assert_array_equal(found.scored, scene.scored)
    assert (found.road is None) == (scene.road is None)
    if scene.road is not None:
        lane, expected = found.road.lane("a"), scene.road.lane("a")
        for name in ("centre", "left", "right"):
            np.testing.assert_allclose(getattr(lane, name), getattr(expected, name), atol=TENTH)
        assert lane.successors == ("b",) and lane.predecessors == lane.neighbours == ()
        for name in ("areas", "crossings", "stops", "walls"):
            pairs = zip(getattr(found.road, name), getattr(scene.road, name), strict=True)
            assert all(np.allclose(*pair, atol=TENTH) for pair in pairs)
    assert [p.name for p in path.parent.iterdir()] == ["s.json"]
    write_scene(path, found)
    again = path.read_text()
    write_scene(path, read_scene(path))
    assert path.read_text() == again


def test_forecasts_there_and_back(tmp_path):
    path, told = tmp_path / "f.json", forecast(crowd(road=road()))
    write_forecast(path, told)
    found = read_forecast(path)
    same(found.scene, told.scene)
    np.testing.assert_array_equal(found.agents, told.agents)
    np.testing.assert_allclose(found.worlds, told.worlds, atol=TENTH)
    np.testing.assert_array_equal(found.probabilities, told.probabilities)
    assert found.dt == 0.5
    for (name, point, agent), expected in zip(found.goals, told.goals, strict=True):
        assert (name, point.tolist(), agent) == (expected[0], expected[1].tolist(), expected[2])
    same(read_scene(path), told.scene)
    np.testing.assert_array_equal(forecast_in(str(path)).worlds, found.worlds)
    write_scene(path, told.scene)
    for source in (str(path), str(tmp_path / "none.json"), "mixed"):
        assert forecast_in(source) is None
    with pytest.raises(ValueError, match=r"f.json holds a scene and no forecast; make one with"):
        read_forecast(path)


def plain():
    """A scene as one would write it by hand."""
    walk = [[step, 2.0 * step, 1.0] for step in range(4)]
    return {
        "name": "own",
        "dt": 0.5,
        "now": 2,
        "steps": 4,
        "tracks": [
            {"id": 7, "kind": "vehicle", "steps": walk},
            {"id": "b", "kind": "pedestrian", "steps": [[2, 0, 0], [1, 0, -3]]},
        ],
    }


def test_a_scene_by_hand_has_headings_of_its_motion(tmp_path):
    path = tmp_path / "own.json"
    path.write_text(json.dumps({"scene": plain()}))
    found = read_scene(path)
    assert found.ids == ("7", "b") and found.road is None and found.scored is None
    np.testing.assert_allclose(found.headings[0], 0)
    np.testing.assert_allclose(found.headings[1, 1:3], np.pi / 2)
    assert found.valid[1].tolist() == [False, True, True, False]
    np.testing.assert_array_equal(found.positions[1, 1], [0, -3])


def test_a_row_without_a_heading_leaves_the_other_agents(tmp_path):
    held = plain()
    for row in held["tracks"][0]["steps"]:
        row.append(0.25)
    path = tmp_path / "own.json"
    path.write_text(json.dumps({"scene": held}))
    found = read_scene(path)
    np.testing.assert_array_equal(found.headings[0], 0.25)
    np.testing.assert_allclose(found.headings[1, 1:3], np.pi / 2)


def test_who_is_scored_and_lanes_without_a_centre(tmp_path):
    held = plain()
    held["tracks"][1]["scored"] = False
    lane = {"id": 3, "left": [[0, 2], [9, 2]], "right": [[0, -2], [9, 0]]}
    held["map"] = {"lanes": [lane], "stops": [[[1, 1], [1, 3]]]}
    path = tmp_path / "own.json"
    path.write_text(json.dumps({"scene": held}))
    found = read_scene(path)
    assert found.scored.tolist() == [True, False]
    np.testing.assert_array_equal(found.road.lane("3").centre, line((0, 0), (9, 1)))
    np.testing.assert_array_equal(found.road.stops[0], line((1, 1), (1, 3)))


def test_only_what_is_valid_is_written():
    scene = crowd()
    rows = scene_object(scene)["tracks"][2]["steps"]
    assert [row[0] for row in rows] == np.flatnonzero(scene.valid[2]).tolist()
    assert rows[0][0] == NOW - 1 and len(rows[0]) == 4


def put(*way):
    """Return a change that sets the entry at the end of a way to the last word."""

    def change(held):
        *parents, last, value = way
        for part in parents:
            held = held[part]
        held[last] = value

    return change


def track(name, value):
    return put("scene", "tracks", 0, name, value)


def row(*values):
    return put("scene", "tracks", 0, "steps", 1, list(values))


def told(name, value):
    return put("forecast", name, value)


def without(*way):
    def change(held):
        for part in way[:-1]:
            held = held[part]
        del held[way[-1]]

    return change


WRONG = [
    (without("scene"), "lacks the entry 'scene'; see the format"),
    (without("scene", "tracks"), "lacks the entry 'tracks'"),
    (without("scene", "dt"), "lacks the entry 'dt'"),
    (without("scene", "tracks", 0, "kind"), "lacks the entry 'kind'"),
    (without("scene", "map", "lanes", 0, "left"), "lacks the entry 'left'"),
    (without("forecast", "worlds"), "lacks the entry 'worlds'"),
    (put("scene", None), "is no scene file: scene needs to be an object, got NoneType"),
    (put("scene", []), "scene needs to be an object, got list"),
    (put("forecast", []), "forecast needs to be an object, got list"),
    (put("scene", "map", 5), "map needs to be an object, got int"),
    (put("scene", "map", "lanes", 0, "a"), "a lane needs to be an object, got str"),
    (put("scene", "map", "lanes", 5), "is no scene file: 'int' object is not iterable"),
    (put("scene", "map", "walls", [[[1, 2]]]), r"one of the map's walls needs shape"),
    (put("scene", "map", "walls", [[[1, 2], [3]]]), "is no scene file: .*inhomogeneous"),
    (put("scene", "tracks", 5), "is no scene file: 'int' object is not iterable"),
    (put("scene", "tracks", {"a": 1}), "a track needs to be an object, got str"),
    (put("scene", "tracks", 0, [1]), "a track needs to be an object, got list"),
    (put("scene", "steps", "many"), "is no scene file: invalid literal for int"),
    (put("scene", "steps", 100_001), "a scene has 100000 steps at most, got 100001; cut it"),
    (put("scene", "name", 7), "the scene's name needs to be text, got 7; put quotes"),
    (put("scene", "steps", -3), "is no scene file: .*negative"),
    (put("scene", "steps", float("inf")), "is no scene file: cannot convert float infinity"),
    (put("scene", "now", 9), "crowd-0: now is one of the 9 steps, got 9"),
    (put("scene", "dt", -1), "crowd-0: dt is a positive time in seconds, got -1"),
    (put("scene", "dt", [1]), r"is no scene file: float\(\) argument"),
    (track("id", "p1"), "two agents have the id 'p1'"),
    (track("kind", "horse"), "unknown kind 'horse'"),
    (track("steps", None), "is no scene file: 'NoneType' object is not iterable"),
    (row(1, 2), r"track p0 needs rows of step, x, y and perhaps heading, got \[1, 2\]"),
    (row(1, 2, 3, 4, 5), "track p0 needs rows of step, x, y and perhaps heading, got"),
    (track("steps", [7]), "track p0 needs rows of step, x, y and perhaps heading, got 7"),
    (row(9, 0, 0), r"track p0 has step 9 twice or outside 0..8"),
    (row(0, 0, 0), r"track p0 has step 0 twice or outside 0..8"),
    (row(-1, 0, 0), r"track p0 has step -1 twice or outside 0..8"),
    (row(0.5, 0, 0), "is no scene file: only integers"),
    (row("one", 0, 0), "is no scene file: '<=' not supported between"),
    (row(1, "x", 0), "is no scene file: could not convert string to float"),
    (row(1, float("nan"), 0), "agent p0 has a position or heading that is no number at step 1"),
    (told("worlds", [1, 2]), r"worlds need shape \(K, 2, F, 2\), got \(2,\)"),
    (told("worlds", [[1], [1, 2]]), "is no scene file: .*inhomogeneous"),
    (told("agents", [0, 77]), "there is no agent 77"),
    (told("agents", ["p0"]), "is no scene file: invalid literal for int"),
    (told("probabilities", [1, 1, 1]), "probabilities are 0 or more and have the sum 1"),
    (told("dt", "soon"), "is no scene file: could not convert string to float"),
    (told("goals", [["g", [0, 0]]]), "is no scene file: not enough values to unpack"),
    (told("goals", [["g", [0, 0], 9]]), "the goal 'g' is of agent 9"),
]


@pytest.mark.parametrize(("change", "said"), WRONG)
def test_what_is_wrong_is_one_sentence(tmp_path, change, said):
    path = tmp_path / "s.json"
    write_forecast(path, forecast(crowd(road=road())))
    held = json.loads(path.read_text())
    change(held)
    path.write_text(json.dumps(held))
    with pytest.raises(ValueError, match=said) as error:
        read_forecast(path)
    assert str(path) in str(error.value) and error.value.__cause__ is None


@pytest.mark.parametrize("part", [0, 1, 100, -3])
def test_truncated_files_are_named(tmp_path, part):
    path = tmp_path / "s.json"
    write_scene(path, crowd())
    path.write_text(path.read_text()[:part])
    with pytest.raises(ValueError, match=r"s.json is no scene file: "):
        read_scene(path)


def test_deep_nests_are_named(tmp_path):
    path = tmp_path / "s.json"
    path.write_text("[" * 200_000)
    with pytest.raises(ValueError, match=r"s.json is no scene file: it is nested too deeply"):
        read_scene(path)


@pytest.mark.parametrize("text", ["[]", "5", "null", '"scene"'])
def test_other_json_is_named(tmp_path, text):
    path = tmp_path / "s.json"
    path.write_text(text)
    with pytest.raises(
        ValueError, match=r"s.json is no scene file: the file needs to be an object"
    ):
        read_scene(path)


def test_files_that_cannot_be_read_or_written_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"cannot read .*none.json .*; check the path"):
        read_scene(tmp_path / "none.json")
    (tmp_path / "b.json").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ValueError, match=r"cannot read .*b.json .*; check the path"):
        read_scene(tmp_path / "b.json")
    with pytest.raises(ValueError, match="it is a folder"):
        write_scene(tmp_path, crowd())
    with pytest.raises(ValueError, match="it is a folder"):
        write_forecast(tmp_path, forecast(crowd()))
