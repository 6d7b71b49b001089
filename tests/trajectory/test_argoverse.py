"""Scenarios of Argoverse 2: the real one against its published facts, small ones made here."""

import builtins
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from domains.trajectory.readers.argoverse import read_argoverse
from tests.trajectory import argoverse_files as small


def sample(shared: Path) -> Path:
    (folder,) = (p for p in (shared / "data" / "av2_sample").iterdir() if p.is_dir())
    return folder


def test_the_real_scenario_has_its_published_counts(shared: Path) -> None:
    scene = read_argoverse(sample(shared))
    assert Counter(scene.kinds) == {"vehicle": 32, "pedestrian": 12, "static": 8 + 4 + 2}
    assert (scene.agents, scene.now, scene.dt, scene.horizon) == (58, 49, 0.1, 60)
    assert scene.valid.sum() == 2434
    assert (scene.valid.all(1).sum(), scene.present.sum()) == (7, 25)
    assert {scene.ids[a] for a in np.flatnonzero(scene.scored)} == {"138951", "139344"}
    road = scene.road
    assert (len(road.lanes), len(road.areas), len(road.crossings)) == (71, 2, 6)


def test_the_real_tracks_are_the_rows_of_the_file(shared: Path) -> None:
    folder = sample(shared)
    scene = read_argoverse(folder)
    rows = pa.parquet.read_table(next(folder.glob("*.parquet"))).to_pylist()
    for row in rows:
        a, step = scene.agent(row["track_id"]), row["timestep"]
        assert scene.valid[a, step] and scene.headings[a, step] == row["heading"]
        assert scene.positions[a, step].tolist() == [row["position_x"], row["position_y"]]


def test_constant_velocity_has_its_known_error(shared: Path) -> None:
    folder = sample(shared)
    scene = read_argoverse(folder)
    rows = pa.parquet.read_table(next(folder.glob("*.parquet"))).to_pylist()
    speed = {r["track_id"]: (r["velocity_x"], r["velocity_y"]) for r in rows if r["timestep"] == 49}
    gaps = []
    for a in np.flatnonzero(scene.scored):
        seconds = 0.1 * np.arange(1, 61)[:, None]
        told = scene.positions[a, scene.now] + seconds * np.array(speed[scene.ids[a]])
        gaps.append(np.linalg.norm(told - scene.positions[a, scene.now + 1 :], axis=-1))
    assert np.mean(gaps) == pytest.approx(2.036, abs=1e-3)
    assert np.mean(gaps, axis=0)[-1] == pytest.approx(4.697, abs=1e-3)


def test_real_lanes_join_their_successors(shared: Path) -> None:
    road = read_argoverse(sample(shared)).road
    lanes = {lane.id: lane for lane in road.lanes}
    pairs = [(lane, lanes[id]) for lane in road.lanes for id in lane.successors if id in lanes]
    assert len(pairs) > 40
    for lane, after in pairs:
        assert np.linalg.norm(lane.centre[-1] - after.centre[0]) < 0.5
    for lane in road.lanes:  # the left bound lies to the left of the way
        way = lane.centre[-1] - lane.centre[0]
        across = lane.left.mean(0) - lane.right.mean(0)
        assert way[0] * across[1] - way[1] * across[0] > 0


def test_a_small_scenario_is_read_exactly(tmp_path: Path) -> None:
    scene = read_argoverse(small.write(tmp_path / "one"))
    assert (scene.name, scene.ids) == (small.NAME, ("17", "4", "9", "AV"))
    assert scene.kinds == ("bus", "static", "cyclist", "vehicle")
    assert scene.scored.tolist() == [True, False, True, False]
    assert scene.valid.sum(1).tolist() == [110, 5, 61, 110]
    assert scene.positions[2, 30].tolist() == pytest.approx([8.0, 3.0])
    assert np.allclose(scene.velocities(), [[0, 8], [0, 0], [0, 1], [0, 5]])


def test_a_small_map_is_read_exactly(tmp_path: Path) -> None:
    road = read_argoverse(small.write(tmp_path / "one")).road
    assert road.lane("1").centre.tolist() == [[0, 0], [0.5, 25], [0, 50]]
    assert road.lane("2").centre.tolist() == [[4, 0], [4, 20], [4, 50]]  # the middle of its bounds
    assert road.lane("1").successors == ("44",)
    assert road.lane("1").neighbours == ("2",) and road.lane("3").neighbours == ()  # 3 comes down
    assert road.crossings[0].tolist() == [[-6, 9], [6, 9], [6, 12], [-6, 12]]
    assert road.areas[0].shape == (3, 2)


def test_a_scenario_without_a_future_ends_now(tmp_path: Path) -> None:
    scene = read_argoverse(small.write(tmp_path / "one", small.columns(last=49)))
    assert (scene.now, scene.horizon) == (49, 0)


def test_a_file_is_read_as_its_folder_is(tmp_path: Path) -> None:
    folder = small.write(tmp_path / "one")
    one, other = read_argoverse(next(folder.glob("*.parquet"))), read_argoverse(folder)
    assert np.array_equal(one.positions, other.positions)


def test_a_map_is_needed_unless_it_is_not_asked_for(tmp_path: Path) -> None:
    folder = small.write(tmp_path / "one", road=False)
    assert read_argoverse(folder, road=False).road is None
    with pytest.raises(ValueError, match=r"expected one map .* found 0; put it there, or read wit"):
        read_argoverse(folder)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"heading": None}, "another schema, without heading; expected the columns"),
        ({"position_x": (5, np.nan)}, "agent AV has a position or heading that is no number at st"),
        ({"position_x": (5, None)}, "the column position_x has missing values"),
        ({"timestep": (5, 4)}, "track AV has several rows at timestep 4; keep one"),
        ({"timestep": (5, -1)}, "timesteps lie in 0 to 99999, got -1"),
        ({"object_type": (0, "tank")}, "unknown object type 'tank'; expected one of vehicle"),
        ({"scenario_id": (5, "other")}, "rows of one scenario, found 2"),
        ({"position_y": "north"}, "a column of another type"),
        ({"observed": False}, "it has no observed steps"),
    ],
)
def test_bad_rows_are_refused(tmp_path: Path, change: dict, match: str) -> None:
    rows = small.columns()
    for name, value in change.items():
        if value is None:
            del rows[name]
        elif isinstance(value, tuple):
            rows[name][value[0]] = value[1]
        else:
            rows[name] = [value] * len(rows[name])
    with pytest.raises(ValueError, match=match):
        read_argoverse(small.write(tmp_path / "one", rows))


def test_bad_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no such file"):
        read_argoverse(tmp_path / "none.parquet")
    with pytest.raises(ValueError, match="expected one parquet file of a scenario, found 0"):
        read_argoverse(tmp_path)
    folder = small.write(tmp_path / "one")
    file = next(folder.glob("*.parquet"))
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match="no whole parquet file"):
        read_argoverse(folder)


def test_damaged_text_is_refused(tmp_path: Path) -> None:
    rows = small.columns()
    ends = pa.array(range(len(rows["observed"]) + 1), pa.int32()).buffers()[1]
    letters = pa.py_buffer(b"\xff" * len(rows["observed"]))
    rows["track_id"] = pa.StringArray.from_buffers(len(rows["observed"]), ends, letters)
    with pytest.raises(ValueError, match="no whole parquet file"):
        read_argoverse(small.write(tmp_path / "one", rows))


def test_bad_maps_are_refused(tmp_path: Path) -> None:
    folder = small.write(tmp_path / "one")
    file = next(folder.glob("*.json"))
    whole, parts = file.read_text(), small.map_parts()
    file.write_text(whole[:500])
    with pytest.raises(ValueError, match="is no whole JSON file"):
        read_argoverse(folder)
    for bad in ({}, [], parts | {"lane_segments": {"1": {"id": 1}}}, parts | {"lane_segments": 3}):
        file.write_text(json.dumps(bad))
        with pytest.raises(ValueError, match="is no map of Argoverse 2"):
            read_argoverse(folder)
    parts["lane_segments"]["1"]["left_lane_boundary"] = small.line((0, 0))
    file.write_text(json.dumps(parts))
    with pytest.raises(ValueError, match="the left of lane 1 needs shape"):
        read_argoverse(folder)


def test_without_pyarrow_the_error_says_how_to_get_it(tmp_path, monkeypatch) -> None:
    folder, real = small.write(tmp_path / "one"), builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match=r"pip install 'guided\[trajectory\]' brings it"):
        read_argoverse(folder)
