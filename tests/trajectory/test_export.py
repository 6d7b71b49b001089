"""Submissions and CommonRoad files: what is written is read back, what is bad is never written."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from domains.trajectory.export.argoverse import check_submission, read_submission, write_submission
from domains.trajectory.export.commonroad import write_commonroad
from domains.trajectory.forecast import Forecast
from domains.trajectory.readers.argoverse import read_argoverse
from domains.trajectory.readers.commonroad import read_commonroad
from domains.trajectory.road import Lane, RoadMap
from domains.trajectory.scene import Scene
from tests.trajectory import argoverse_files as small


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return read_argoverse(small.write(tmp_path / "scenario"))


def told(
    scene: Scene, worlds: int = 6, dt: float = 0.1, steps: int = 60, seed: int = 0
) -> Forecast:
    """Return a forecast of everybody seen now: their straight ways and a drift of each world."""
    generator = np.random.default_rng(seed)
    agents = np.flatnonzero(scene.present)
    seconds = dt * np.arange(1, steps + 1)[:, None]
    drift = generator.normal(size=(worlds, len(agents), 1, 2)) + scene.velocities()[agents, None]
    paths = scene.positions[agents, scene.now][:, None] + seconds * drift
    return Forecast(scene, agents, paths, dt, generator.dirichlet(np.ones(worlds)))


def test_a_submission_is_read_back_with_its_worlds(scene: Scene, tmp_path: Path) -> None:
    path, forecast = tmp_path / "s.parquet", told(scene)
    write_submission(path, [forecast])
    probabilities, tracks = read_submission(path)[small.NAME]
    order = np.argsort(-forecast.probabilities)
    assert set(tracks) == {"17", "9"}  # the focal and the scored one
    assert np.allclose(probabilities, forecast.probabilities[order], atol=1e-15)
    for id, worlds in tracks.items():
        row = list(forecast.agents).index(scene.agent(id))
        assert np.array_equal(worlds, forecast.worlds[order, row])
    assert check_submission(path, [scene]) == []
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_the_columns_are_those_of_the_challenge(scene: Scene, tmp_path: Path) -> None:
    write_submission(tmp_path / "s.parquet", [told(scene)])
    found = pa.parquet.read_schema(tmp_path / "s.parquet")
    paths = [f"predicted_trajectory_{axis}" for axis in "xy"]
    assert found.names == ["scenario_id", "track_id", "probability", *paths]
    assert {found.field(name).type.value_type for name in paths} == {pa.float64()}
    assert len(pa.parquet.read_table(tmp_path / "s.parquet")) == 2 * 6


def test_the_challenge_s_own_order_keeps_worlds_together(scene: Scene, tmp_path: Path) -> None:
    """Its reader sorts all rows by probability with pandas, whose order of equal ones is any."""
    pandas = pytest.importorskip("pandas")
    scenes = [replace(scene, name=f"s{i}") for i in range(40)]
    forecasts = [
        replace(told(s, seed=i), probabilities=np.ones(6) / 6) for i, s in enumerate(scenes)
    ]
    write_submission(tmp_path / "s.parquet", forecasts)
    table = pandas.read_parquet(tmp_path / "s.parquet")
    for name, rows in table.sort_values("probability", ascending=False).groupby("scenario_id"):
        forecast = forecasts[int(name[1:])]
        for track, own in rows.groupby("track_id"):
            row = list(forecast.agents).index(scene.agent(track))
            xs = np.stack(own["predicted_trajectory_x"].to_list())
            assert np.array_equal(xs, forecast.worlds[:, row, :, 0])
            assert np.allclose(own["probability"], 1 / 6, atol=1e-5)
            assert own["probability"].sum() == pytest.approx(1, abs=1e-12)


def test_other_steps_are_resampled(scene: Scene, tmp_path: Path) -> None:
    write_submission(tmp_path / "s.parquet", [told(scene, dt=0.4, steps=15)])
    write_submission(tmp_path / "fine.parquet", [told(scene)])
    coarse, fine = (read_submission(tmp_path / f"{n}.parquet")[small.NAME] for n in ("s", "fine"))
    assert np.allclose(coarse[1]["17"], fine[1]["17"], atol=1e-9)  # straight ways


def test_the_most_probable_worlds_are_kept_where_it_is_asked(scene: Scene, tmp_path: Path) -> None:
    forecast, path = told(scene, worlds=20), tmp_path / "s.parquet"
    with pytest.raises(ValueError, match="has 20 worlds and a submission at most 6; choose some"):
        write_submission(path, [forecast])
    with pytest.raises(ValueError, match="keep is 1 to 6 worlds, got 7"):
        write_submission(path, [forecast], keep=7)
    assert not path.exists()
    write_submission(path, [forecast], keep=6)
    best = np.sort(forecast.probabilities)[::-1][:6]
    assert np.allclose(read_submission(path)[small.NAME][0], best / best.sum())


def test_bad_forecasts_are_never_written(scene: Scene, tmp_path: Path) -> None:
    path, good = tmp_path / "s.parquet", told(scene)
    lacking = replace(good, agents=good.agents[:1], worlds=good.worlds[:, :1])
    broken = replace(good, worlds=np.where(good.worlds > 25, np.nan, good.worlds))
    negative = replace(good, probabilities=np.array([1.2, -0.2, 0, 0, 0, 0]))
    for bad, match in (
        ([lacking], "scored track 9 is missing; nothing is written"),
        ([broken], r"track 17: a coordinate is no number.*and \d more"),
        ([negative], r"probabilities lie in \[0, 1\], got"),
        ([good, good], f"2 scenes have the name {small.NAME}"),
        ([], "there is no scene to forecast"),
        ([told(scene, steps=50)], "the forecast ends 5 s after now"),
    ):
        with pytest.raises(ValueError, match=match):
            write_submission(path, bad)
    assert not path.exists()


Change = Callable[[list[dict]], None]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda rows: rows.pop(0), "tracks 17 and 9 have worlds of different probabilities"),
        (lambda rows: rows.append(rows[0]), "7 worlds, at most 6 are allowed"),
        (lambda rows: rows[0].update(track_id="77"), "track 77 is unknown"),
        (lambda rows: rows[0].update(scenario_id="else"), "scenario else is unknown"),
        (lambda rows: [row.update(scenario_id="else") for row in rows], "NAME is missing"),
        (lambda rows: [rows.pop(0) for _ in range(6)], "scored track 17 is missing"),
        (lambda rows: rows[0].update(predicted_trajectory_x=[1.0]), "expected 60 steps, got 1 and"),
        (lambda rows: rows[7]["predicted_trajectory_y"].__setitem__(3, np.inf), "is no number"),
        (
            lambda rows: [r.update(probability=0.1 + 0.01 * i % 6) for i, r in enumerate(rows)],
            "sum",
        ),
        (lambda rows: rows[0].update(probability=np.nan), r"lie in [0, 1]"),
        (lambda rows: [row.update(probability=1 / 6) for row in rows], "worlds have equal prob"),
        (lambda rows: rows.clear(), "NAME is missing"),
    ],
)
def test_complaints_name_what_is_wrong(
    scene: Scene, tmp_path: Path, change: Change, complaint: str
) -> None:
    path = tmp_path / "s.parquet"
    write_submission(path, [told(scene)])
    table = pa.parquet.read_table(path)
    rows = table.to_pylist()
    change(rows)
    pa.parquet.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    found = check_submission(path, [scene])
    assert any(complaint.replace("NAME", small.NAME) in text for text in found), found


def test_files_that_are_no_submission_are_told(scene: Scene, tmp_path: Path) -> None:
    assert "no such file" in check_submission(tmp_path / "none.parquet", [scene])[0]
    path = next((tmp_path / "scenario").glob("*.parquet"))
    assert "another schema, without probability" in check_submission(path, [scene])[0]
    rows = {"scenario_id": ["s"] * 2, "track_id": ["1", "2"], "probability": [1.0, 0.5]}
    paths = {f"predicted_trajectory_{axis}": [[1.0] * 60] * 2 for axis in "xy"}
    pa.parquet.write_table(pa.table(rows | paths), tmp_path / "s.parquet")
    with pytest.raises(ValueError, match="track 2 of s needs 60 steps in each world and the prob"):
        read_submission(tmp_path / "s.parquet")


def test_the_real_scenario_makes_a_good_submission(shared: Path, tmp_path: Path) -> None:
    (folder,) = (p for p in (shared / "data" / "av2_sample").iterdir() if p.is_dir())
    real = read_argoverse(folder)
    write_submission(tmp_path / "s.parquet", [told(real)])
    assert check_submission(tmp_path / "s.parquet", [real]) == []
    assert set(read_submission(tmp_path / "s.parquet")[real.name][1]) == {"138951", "139344"}


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


def test_a_scene_of_argoverse_becomes_lanelets(scene: Scene, tmp_path: Path) -> None:
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
