"""CommonRoad scenarios: all real files against counts of their tags, small ones made here."""

import re
from pathlib import Path

import numpy as np
import pytest

from domains.trajectory.readers.commonroad import read_commonroad
from tests.trajectory import commonroad_files as small

FILES = (
    "ARG_Carcarana-4_5_T-1",
    "DEU_A9-3_1_T-1",
    "DEU_Starnberg-1_1_T-1",
    "FRA_Anglet-1_1_T-1",
    "USA_Lanker-1_1_T-1",
    "USA_Peach-4_8_T-1",
    "USA_US101-3_3_T-1",
    "USA_US101-4_1_T-1",
)


@pytest.mark.parametrize("name", FILES)
def test_real_files_have_what_their_tags_count(shared: Path, name: str) -> None:
    path = shared / "data" / "commonroad" / f"{name}.xml"
    scene, text = read_commonroad(path), path.read_text()
    count = lambda pattern: len(re.findall(pattern, text))  # noqa: E731
    assert scene.name == name
    assert scene.agents == count(r"<(?:obstacle|dynamicObstacle|staticObstacle) id=")
    assert scene.valid.sum() == scene.agents + count(r"<state>")  # and the initial states
    assert len(scene.road.lanes) == count(r"<lanelet id=")
    assert len(scene.road.stops) == count(r"<stopLine>")
    links = sum(len(lane.successors) for lane in scene.road.lanes)
    assert links == count(r"<successor ref=")
    same = count(r"<adjacent(?:Left|Right)[^>]*drivingDir=\"same\"")
    assert sum(len(lane.neighbours) for lane in scene.road.lanes) == same
    cars = count(r"<type>(?:car|truck)</type>")
    assert sum(kind == "vehicle" for kind in scene.kinds) == cars
    assert scene.agents == 0 or scene.present.any()


def test_real_obstacles_move_as_fast_as_the_file_says(shared: Path) -> None:
    path = shared / "data" / "commonroad" / "USA_US101-4_1_T-1.xml"
    scene, text = read_commonroad(path), path.read_text()
    block = text[text.index("<dynamicObstacle") : text.index("</dynamicObstacle>")]
    speeds = [float(v) for v in re.findall(r"<velocity>\s*<exact>([^<]*)<", block)]
    steps = np.flatnonzero(scene.valid[0])
    ways = np.linalg.norm(np.diff(scene.positions[0, steps], axis=0), axis=-1) / scene.dt
    assert len(steps) == len(speeds)
    assert ways.mean() == pytest.approx(np.mean(speeds), rel=0.05)


def test_real_lanes_join_and_lie_between_their_bounds(shared: Path) -> None:
    road = read_commonroad(shared / "data" / "commonroad" / "USA_Lanker-1_1_T-1.xml").road
    lanes = {lane.id: lane for lane in road.lanes}
    for lane in road.lanes:
        for id in lane.successors:
            assert np.linalg.norm(lane.centre[-1] - lanes[id].centre[0]) < 0.1
        sides = [np.linalg.norm(lane.centre - b, axis=-1) for b in (lane.left, lane.right)]
        assert np.allclose(*sides)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "small.xml"
    path.write_text(text)
    return path


def test_a_small_file_is_read_exactly(tmp_path: Path) -> None:
    still = (
        f'<staticObstacle id="8"><type>parkedVehicle</type>{small.state("initialState", 0, 5, 2)}'
    )
    inner = small.moving(6, 2, 3, 4) + small.moving(7, 2, type="bicycle") + still
    scene = read_commonroad(written(tmp_path, small.new(inner + "</staticObstacle>")))
    assert (scene.ids, scene.kinds) == (("6", "7", "8"), ("vehicle", "cyclist", "static"))
    assert scene.valid.tolist() == [[True] * 4, [True, True, False, False], [True] * 4]
    assert scene.positions[0, :, 0].tolist() == [1, 2, 3, 4]
    assert scene.positions[2].tolist() == [[5, 2]] * 4
    assert (scene.dt, scene.now, scene.name) == (0.2, 1, "ZAM_Small-1")
    assert np.all(scene.headings[scene.valid] == 0.5)
    assert read_commonroad(tmp_path / "small.xml", now=3).horizon == 0


def test_a_small_map_is_read_exactly(tmp_path: Path) -> None:
    road = read_commonroad(written(tmp_path, small.new(""))).road
    assert [lane.id for lane in road.lanes] == ["1", "2", "3"]  # no sidewalk, no crosswalk
    assert road.lane("1").centre.tolist() == [[0, 1.5], [20, 1.5]]
    assert (road.lane("1").neighbours, road.lane("2").neighbours) == (("2",), ())
    assert road.lane("1").successors == ("9",)
    assert road.stops[0].tolist() == [[20, 3], [20, 0]]
    assert road.crossings[0].tolist() == [[0, 12], [20, 12], [20, 15], [0, 15]]


def test_bounds_of_other_lengths_have_a_line_in_their_middle(tmp_path: Path) -> None:
    left = small.bound("leftBound", (0, 4), (5, 4), (20, 4))
    lane = f'<lanelet id="1">{left}{small.bound("rightBound", (0, 0), (20, 0))}</lanelet>'
    found = read_commonroad(written(tmp_path, small.new("", lane))).road.lane("1")
    assert np.allclose(found.centre, [[0, 2], [5, 2], [20, 2]])


def test_the_older_version_and_its_intervals_are_read(tmp_path: Path) -> None:
    region = (
        "<state><position><rectangle><length>2</length><width>1</width>"
        "<center><x>3</x><y>7</y></center></rectangle></position>"
        "<orientation><intervalStart>0.2</intervalStart><intervalEnd>0.6</intervalEnd>"
        "</orientation><time><exact>1.0</exact></time></state>"
        "<state><position><polygon><point><x>0</x><y>0</y></point><point><x>6</x><y>0</y></point>"
        "<point><x>0</x><y>9</y></point></polygon></position>"
        "<orientation><exact>1</exact></orientation><time><exact>2</exact></time></state>"
    )
    inner = f"<role>dynamic</role>{small.MOVING.format(type='truck', states=region)}"
    rest = f"<role>static</role><type>car</type>{small.state('initialState', 0, 5, 2)}"
    text = small.new(f'<obstacle id="6">{inner}</obstacle><obstacle id="7">{rest}</obstacle>')
    scene = read_commonroad(written(tmp_path, text.replace("2020a", "2018b")))
    assert scene.kinds == ("vehicle", "static")
    assert scene.positions[0].tolist() == [[1, 1], [3, 7], [2, 3]]
    assert scene.headings[0].tolist() == pytest.approx([0.5, 0.4, 1.0])


def test_what_has_no_orientation_heads_where_it_moves(tmp_path: Path) -> None:
    inner = small.MOVING.format(type="pedestrian", states=small.states(2, 3, orientation=None))
    text = small.new(f'<dynamicObstacle id="6">{inner}</dynamicObstacle>')
    scene = read_commonroad(written(tmp_path, text))
    assert scene.headings[0].tolist() == [0.5, 0, 0]  # only the first has one


def test_a_missing_orientation_of_the_future_leaves_the_history(tmp_path: Path) -> None:
    later = small.state("state", 3, 4, 1, None)
    inner = small.MOVING.format(type="car", states=small.states(2, 3) + later)
    text = small.new(f'<dynamicObstacle id="6">{inner}</dynamicObstacle>')
    scene = read_commonroad(written(tmp_path, text))
    assert scene.now == 1
    assert scene.headings[0].tolist() == [0.5, 0.5, 0.5, 0]


def test_an_obstacle_without_a_trajectory_is_one_point(tmp_path: Path) -> None:
    inner = f"<type>train</type>{small.state('initialState', 2, 5, 2)}"
    text = small.new(f'<dynamicObstacle id="6">{inner}</dynamicObstacle>')
    scene = read_commonroad(written(tmp_path, text))
    assert scene.valid.tolist() == [[False, False, True]]
    assert (scene.kinds, scene.now) == (("other",), 2)


def test_a_map_is_needed_unless_it_is_not_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path, small.new(small.moving(6, 2), lanes=""))
    assert read_commonroad(path, road=False).agents == 1
    with pytest.raises(ValueError, match="no lanelets, so no map; add them, or read without"):
        read_commonroad(path)


BAD = {
    "two agents have the id '6'; rename one": small.new(small.moving(6, 2) + small.moving(6, 3)),
    "two lanelets have one id; rename one": small.new("", small.LANES + small.lanelet(1, 30)),
    "lanelet 1 needs two points or more": small.new("", '<lanelet id="1"></lanelet>'),
    "a <lanelet> has no attribute 'id'; add it": small.new("", "<lanelet></lanelet>"),
    "obstacle 6 has no initial state": small.new('<dynamicObstacle id="6"></dynamicObstacle>'),
    "obstacle 6 has several states at step 0": small.new(small.moving(6, 2)).replace(
        "<time><exact>1<", "<time><exact>0<"
    ),
    "obstacle 6: <x> in <point> holds a number, got 'far'": small.new(small.moving(6, "far")),
    "obstacle 6: time steps lie in 0 to 99999, got -3": small.new(small.moving(6, 2)).replace(
        "<exact>1<", "<exact>-3<"
    ),
    "agent 6 has a position or heading that is no number at step 1": small.new(
        small.moving(6, "nan")
    ),
    "a <state> has no <time>; add it": small.new(small.moving(6, 2)).replace(
        "<time><exact>1</exact></time>", ""
    ),
    "the position of a <state> is no point and no shape": small.new(small.moving(6, 2)).replace(
        "<point><x>2</x><y>1</y></point>", '<lanelet ref="1"/>'
    ),
    "timeStepSize holds the seconds of a step": small.new("").replace('"0.2"', '"soon"'),
    "no whole XML file": small.new("")[:-30],
    "expected a <commonRoad> file, got <osm>": "<osm></osm>",
    "dt is a positive time": small.new("").replace('"0.2"', '"0"'),
}


@pytest.mark.parametrize("match", BAD)
def test_bad_files_are_refused(tmp_path: Path, match: str) -> None:
    with pytest.raises(ValueError, match=re.escape(match)) as error:
        read_commonroad(written(tmp_path, BAD[match]))
    assert "small.xml" in str(error.value) and "\n" not in str(error.value)


def test_a_missing_file_and_a_step_that_is_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        read_commonroad(tmp_path / "none.xml")
    with pytest.raises(ValueError, match="now is one of the 2 steps, got 5"):
        read_commonroad(written(tmp_path, small.new(small.moving(6, 2))), now=5)
