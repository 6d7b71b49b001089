"""CommonRoad files: what is written is read back, what has no place there is refused."""

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from domains.trajectory.export.commonroad import write_commonroad
from domains.trajectory.forecast import Forecast
from domains.trajectory.readers.argoverse import read_argoverse
from domains.trajectory.readers.commonroad import read_commonroad
from domains.trajectory.road import Lane, RoadMap
from domains.trajectory.scene import Scene
from tests.trajectory import argoverse_files as small


def returned(scene: Scene, path: Path) -> Scene:
    write_commonroad(path, scene)
    return read_commonroad(path, now=scene.now)


def require_same(one: Scene, other: Scene) -> None:
    """Fail unless two scenes have the same tracks, by id, and the same lanes."""
    assert sorted(one.ids) == sorted(other.ids) and one.dt == other.dt
    order = [other.agent(id) for id in one.ids]
    assert np.array_equal(one.valid, other.valid[order])
    seen = one.valid
    assert np.allclose(one.positions[seen], other.positions[order][seen], atol=1e-5, rtol=0)
    assert np.allclose(one.headings[seen], other.headings[order][seen], atol=1e-5, rtol=0)
    for lane, again in zip(one.road.lanes, other.road.lanes, strict=True):
        for name in ("id", "successors", "predecessors", "neighbours"):
            assert getattr(lane, name) == getattr(again, name)
        for name in ("left", "right", "centre"):
            assert np.allclose(getattr(lane, name), getattr(again, name), atol=1e-5, rtol=0)
    for name in ("stops", "crossings"):
        for line, again in zip(getattr(one.road, name), getattr(other.road, name), strict=True):
            assert np.allclose(line, again, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["DEU_A9-3_1_T-1", "FRA_Anglet-1_1_T-1", "USA_Peach-4_8_T-1"])
def test_real_scenarios_come_back(shared: Path, tmp_path: Path, name: str) -> None:
    scene = read_commonroad(shared / "data" / "commonroad" / f"{name}.xml")
    found = returned(scene, tmp_path / "s.xml")
    require_same(scene, replace(found, road=_known(found.road, scene.road)))
    assert found.kinds == scene.kinds and found.name == scene.name


def _known(road: RoadMap, like: RoadMap) -> RoadMap:
    """Give back the links to lanes outside the map, which the file cannot name."""
    own = {lane.id for lane in road.lanes}
    for lane in like.lanes:
        assert {*road.lane(lane.id).successors} == {i for i in lane.successors if i in own}
    return replace(
        road,
        lanes=tuple(
            replace(a, successors=b.successors, predecessors=b.predecessors)
            for a, b in zip(road.lanes, like.lanes, strict=True)
        ),
    )


def drawn() -> Scene:
    """Three lanes, a crossing and a stop line; a car, a thing that rests and one that moves."""
    way = np.stack([np.linspace(0, 30, 4), np.zeros(4)], axis=-1)
    lanes = [
        Lane(
            str(i + 1),
            way + np.array([0, 3 * i]),
            way + np.array([0, 3 * i + 1.5]),
            way + np.array([0, 3 * i - 1.5]),
            neighbours=tuple(str(j) for j in (i + 2, i) if 1 <= j <= 3),
        )
        for i in range(3)
    ]
    crossing = np.array([[9.0, -2], [12, -2], [12, 8], [9, 8]])
    road = RoadMap(tuple(lanes), crossings=(crossing,), stops=(np.array([[30.0, 1.5], [30, 4.5]]),))
    positions = np.zeros((3, 5, 2))
    positions[0, :, 0] = np.arange(5)
    positions[2, :, 1] = np.arange(5) ** 2
    valid = np.ones((3, 5), bool)
    valid[2, 0] = False
    kinds = ("vehicle", "static", "static")
    return Scene(
        "Drawn", ("21", "22", "23"), kinds, positions, np.ones((3, 5)), valid, 2, 0.1, road
    )


def test_a_drawn_scene_comes_back(tmp_path: Path) -> None:
    scene = drawn()
    found = returned(scene, tmp_path / "s.xml")
    require_same(scene, found)
    assert dict(zip(found.ids, found.kinds, strict=True)) == {
        "21": "vehicle",
        "22": "static",
        "23": "other",  # it moves, and the format's static obstacles do not
    }
    root = ElementTree.parse(tmp_path / "s.xml").getroot()
    order = [node.tag for node in root]
    assert (
        order
        == [*("location scenarioTags".split()), *["lanelet"] * 4, "staticObstacle"]
        + ["dynamicObstacle"] * 2
    )
    parts = [part.tag for part in root.find("lanelet[@id='2']")]
    assert parts == [
        *("leftBound", "rightBound", "adjacentLeft", "adjacentRight", "stopLine", "laneletType")
    ]


def test_who_waits_keeps_the_heading_until_it_moves(tmp_path: Path) -> None:
    scene = drawn()
    path = np.tile([2.0, 0.0], (1, 1, 12, 1))
    path[0, 0, 6:, 1] = np.arange(1, 7)  # 0.7 s later it goes to the left
    forecast = Forecast(scene, np.array([0]), path, scene.dt, np.ones(1))
    write_commonroad(tmp_path / "s.xml", forecast)
    found = read_commonroad(tmp_path / "s.xml", now=2)
    turned = found.headings[found.agent("21"), 3:]
    assert turned[:5] == pytest.approx(np.full(5, scene.headings[0, 2]), abs=1e-5)
    assert turned[6:] == pytest.approx(np.full(6, np.pi / 2), abs=1e-5)


def test_a_forecast_goes_on_in_the_world_that_is_asked_for(tmp_path: Path) -> None:
    scene = drawn()
    agents = np.array([0, 2])
    paths = np.zeros((2, 2, 3, 2))
    paths[1, 0, :, 0] = 2 + 0.8 * np.arange(1, 4)  # on, at 2 m/s
    paths[0, 0, :, 0] = 2.0  # it stops
    forecast = Forecast(scene, agents, paths, 0.4, np.array([0.5, 0.5]))
    for world in (0, 1):
        write_commonroad(tmp_path / "s.xml", forecast, world)
        found = read_commonroad(tmp_path / "s.xml", now=2)
        car, rest = found.agent("21"), found.agent("22")
        assert found.valid[car].all() and found.valid.shape[1] == 2 + 12 + 1
        assert np.allclose(found.positions[car, :3], scene.positions[0, :3], atol=1e-5)
        assert np.allclose(found.positions[car, [6, 10, 14]], paths[world, 0], atol=1e-5)
        assert found.headings[car, -1] == pytest.approx((1.0, 0.0)[world], abs=1e-5)
        assert found.kinds[rest] == "static"  # it is in no forecast
    assert np.allclose(found.positions[car, 3], [2.2, 0], atol=1e-5)


def test_a_forecast_leaves_out_who_comes_later_and_what_lies_before_a_gap(tmp_path: Path) -> None:
    valid = np.array(
        [[True, False, True, True, True], [True] * 5, [False, False, False, True, True]]
    )
    scene = replace(drawn(), valid=valid, now=2)
    forecast = Forecast(scene, np.array([0]), np.ones((1, 1, 3, 2)), 0.4, np.ones(1))
    write_commonroad(tmp_path / "s.xml", forecast)
    found = read_commonroad(tmp_path / "s.xml", now=2)
    assert sorted(found.ids) == ["21", "22"]
    assert found.valid[found.agent("21")].tolist() == [False, False] + [True] * 13


def test_names_become_numbers_and_numbers_stay(tmp_path: Path) -> None:
    scene = replace(drawn(), ids=("AV", "2", "77"))  # 2 is a lane's already
    found = returned(scene, tmp_path / "s.xml")
    assert {"77"} == {*found.ids} & {*scene.ids} and len({*found.ids, "1", "2", "3"}) == 6
    assert all(id.isdecimal() for id in found.ids)


def test_odd_crossings_come_back_in_their_shape(tmp_path: Path) -> None:
    scene = drawn()
    corners = np.array([[0.0, 0], [4, 0], [5, 3], [2, 5], [0, 3]])
    crossings = (corners, corners[:3])
    road = returned(
        replace(scene, road=replace(scene.road, crossings=crossings)), tmp_path / "s.xml"
    )
    for polygon, again in zip(crossings, road.road.crossings, strict=True):
        assert np.allclose(np.unique(again, axis=0), np.unique(polygon, axis=0))
        assert area(again) == pytest.approx(area(polygon))


def area(polygon: np.ndarray) -> float:
    x, y = polygon.T
    return 0.5 * float(x @ np.roll(y, -1) - y @ np.roll(x, -1))


def test_a_scene_of_argoverse_becomes_lanelets(tmp_path: Path) -> None:
    scene = read_argoverse(small.write(tmp_path / "scenario"))
    found = returned(scene, tmp_path / "s.xml")
    a, b = scene.agent("9"), found.agent("9")
    assert np.array_equal(found.valid[b], scene.valid[a])
    assert np.allclose(found.positions[b][found.valid[b]], scene.positions[a][scene.valid[a]])
    left = found.road.lane("2").left  # its right bound had fewer points
    assert np.allclose(left, scene.road.lane("2").left)
    assert len(found.road.lane("2").right) == len(left)


def test_scenes_without_a_place_in_the_format_are_refused(tmp_path: Path) -> None:
    path, scene = tmp_path / "s.xml", drawn()
    gap, never = scene.valid.copy(), scene.valid.copy()
    gap[0, 3], never[0] = False, False
    ahead = Forecast(scene, np.array([0]), np.ones((2, 1, 3, 2)), 0.1, np.array([0.5, 0.5]))
    for what, world, match in (
        (replace(scene, road=None), 0, "Drawn has no lanes, and CommonRoad needs them"),
        (replace(scene, valid=gap), 0, "agent 21 comes back after a gap"),
        (replace(scene, valid=never), 0, "agent 21 is never seen"),
        (ahead, 2, "the forecast has 2 worlds, got the index 2"),
    ):
        with pytest.raises(ValueError, match=match):
            write_commonroad(path, what, world)
    assert not path.exists()
