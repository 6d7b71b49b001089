"""Sources of scenes: each kind, evenly thinned, and what to train on."""

import sys

import numpy as np
import pytest

from domains.trajectory.batch import Window
from domains.trajectory.readers.highway_env import record_highway
from domains.trajectory.scene_file import write_scene
from domains.trajectory.sources import BUILT_IN, generated, is_made, open_scenes, thinned
from domains.trajectory.training_data import HELD_OUT, Scenes
from tests.trajectory import argoverse_files
from tests.trajectory.crowds import crowd
from tests.trajectory.test_eth_ucy import folder, rows, write

WINDOW = Window(history=4, future=3, dt=0.4)
without_warnings = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.mark.parametrize("kind", BUILT_IN)
def test_generated_scenes_fit_the_window(kind):
    found = open_scenes(kind, 2, seed=3, window=WINDOW)
    assert len(found) == 2 and len({scene.name for scene in found}) == 2
    for scene in found:
        assert (scene.now, scene.horizon, scene.dt) == (3, 3, 0.4)
        assert kind == "mixed" or scene.name.startswith(kind)
    again, other = open_scenes(kind, 1, 3, WINDOW)[0], open_scenes(kind, 1, 4, WINDOW)[0]
    np.testing.assert_array_equal(again.positions, found[0].positions)
    assert (
        other.positions.shape != again.positions.shape or (other.positions != again.positions).any()
    )


def test_without_a_count_or_a_window_there_are_some_of_the_usual():
    found = open_scenes("plaza", count=0)
    usual = Window()
    assert len(found) == 8 and found[0].dt == usual.dt
    assert found[0].valid.shape[1] == usual.history + usual.future


@without_warnings
def test_highway_env_has_seeds_in_a_row():
    pytest.importorskip("highway_env")
    found = open_scenes("highway-env:merge-v0", 2, seed=5, window=WINDOW)
    assert [scene.name for scene in found] == ["merge-v0-5", "merge-v0-6"]
    for seed, scene in zip((5, 6), found, strict=True):
        alone = record_highway("merge-v0", seed, steps=7, dt=0.4, now=3)
        np.testing.assert_array_equal(scene.positions, alone.positions)
        assert (scene.now, scene.horizon, scene.dt) == (3, 3, 0.4)


@without_warnings
def test_unknown_roads_are_named():
    pytest.importorskip("highway_env")
    for id in ("nothing-v0", ""):
        with pytest.raises(ValueError, match=f"highway-env has no environment '{id}'; take"):
            open_scenes(f"highway-env:{id}", 1)


def test_highway_env_without_its_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "highway_env.vehicle.behavior", None)
    with pytest.raises(ValueError, match=r"need the package highway-env; pip install"):
        open_scenes("highway-env:merge-v0", 1)


@pytest.mark.parametrize("kind", ["plaza", "highway-env:merge-v0"])
def test_negative_seeds_and_counts_are_named(kind):
    with pytest.raises(ValueError, match="a seed is an integer of 0 or more, got -1"):
        open_scenes(kind, 1, seed=-1)
    with pytest.raises(ValueError, match=r"count is 0 \(all\) or more scenes, got -2"):
        open_scenes(kind, -2)


def test_what_is_made_and_what_is_read():
    assert all(is_made(source) for source in (*BUILT_IN, "highway-env:merge-v0"))
    assert not any(is_made(source) for source in ("highway-env", "x.json", "folder:eth", ""))


def test_scene_files(tmp_path):
    write_scene(tmp_path / "s.json", crowd())
    (found,) = open_scenes(str(tmp_path / "s.json"), 4)
    assert found.name == "crowd-0"


def test_argoverse_files_and_folders(tmp_path):
    parts = [argoverse_files.write(tmp_path / name) for name in ("a", "b", "c")]
    files = sorted(tmp_path.rglob("scenario_*.parquet"))
    assert len(files) == len(parts)
    assert [len(open_scenes(str(tmp_path), count)) for count in (0, 2, 5)] == [3, 2, 3]
    (one,) = open_scenes(str(files[0]))
    assert one.name == argoverse_files.NAME


def test_commonroad_files(shared):
    path = shared / "data" / "commonroad" / "USA_US101-4_1_T-1.xml"
    (found,) = open_scenes(str(path))
    assert found.agents > 1 and found.road.lanes


def test_pedestrians_are_evenly_thinned(tmp_path):
    path = write(tmp_path / "walk.txt", rows({1: range(40)}))
    names = [[s.name for s in open_scenes(str(path), count)] for count in (0, 3, 99)]
    assert names == [[f"walk-{i}" for i in range(21)], ["walk-0", "walk-10", "walk-20"], names[0]]


def test_folds_of_eth_ucy(tmp_path):
    root = folder(tmp_path)
    assert [s.name for s in open_scenes(f"{root}:univ")] == ["students001-0", "students003-0"]
    assert len(open_scenes(f"{root}:univ", 1)) == 1
    with pytest.raises(ValueError, match="unknown fold 'x'; expected one of eth"):
        open_scenes(f"{root}:x")


def test_recordings_without_a_window_are_named(tmp_path):
    path = write(tmp_path / "short.txt", rows({1: range(19)}))
    with pytest.raises(ValueError, match=r"short.txt holds no window of 20 frames with a person"):
        open_scenes(str(path))
    root = folder(tmp_path)
    for name in ("students001", "students003"):
        write(root / "all_data" / f"{name}.txt", rows({1: range(19)}))
    with pytest.raises(ValueError, match=r":univ holds no window of 20 frames with a person"):
        open_scenes(f"{root}:univ")


@pytest.mark.parametrize(("many", "count"), [(10, 3), (7, 6), (100, 37), (2, 1)])
def test_thinning_keeps_the_ends_and_even_gaps(many, count):
    found = thinned(list(range(many)), count)
    assert len(set(found)) == count and found[0] == 0
    if count > 1:
        assert found[-1] == many - 1 and np.ptp(np.diff(found)) <= 1
    assert thinned([1, 2], 0) == thinned([1, 2], 2) == thinned([1, 2], 9) == [1, 2]


def test_what_is_no_source_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"there is no nothing; .* highway-env:ENV_ID, or one of"):
        open_scenes("nothing")
    with pytest.raises(ValueError, match=r"holds no scenario_\*.parquet; give a folder of Argo"):
        open_scenes(str(tmp_path))
    (tmp_path / "a.csv").write_text("1")
    with pytest.raises(ValueError, match=r"cannot tell what .*a.csv is; expected one of .json, .x"):
        open_scenes(str(tmp_path / "a.csv"))


def test_training_keeps_other_generated_scenes():
    train, kept = Scenes("plaza", count=3, held_out=2, seed=1).load(WINDOW)
    assert [len(train), len(kept)] == [3, 2]
    assert not {scene.name for scene in train} & {scene.name for scene in kept}
    expected = list(generated("plaza", 2, 1 + HELD_OUT, WINDOW))
    np.testing.assert_array_equal(kept[1].positions, expected[1].positions)
    for count in ({"count": 0}, {"held_out": 0}):
        with pytest.raises(ValueError, match="training needs 1 or more generated scenes, got 0"):
            Scenes("plaza", **{"count": 1, "held_out": 1, **count}).load(WINDOW)
    few = Scenes("plaza").few()
    assert (few.source, few.count, few.held_out) == ("plaza", 12, 4)


@without_warnings
def test_training_on_highway_env():
    pytest.importorskip("highway_env")
    train, kept = Scenes("highway-env:merge-v0", count=1, held_out=1, seed=2).load(WINDOW)
    assert [s.name for s in train + kept] == ["merge-v0-2", f"merge-v0-{2 + HELD_OUT}"]


def test_training_on_a_fold_and_on_files(tmp_path):
    root = folder(tmp_path)
    train, kept = Scenes(f"{root}:univ").load(WINDOW)
    assert len(train) == len(kept) == 6
    assert {s.name.split("_")[-1] for s in train} == {"train-0"}
    assert {s.name.split("_")[-1] for s in kept} == {"val-0"}
    path = write(tmp_path / "walk.txt", rows({1: range(59)}))
    train, kept = Scenes(str(path)).load(WINDOW)
    assert [s.name for s in kept] == [f"walk-{i}" for i in range(36, 40)]
    assert [s.name for s in train] == [f"walk-{i}" for i in range(16)]
    for frames, count in ((20, 1), (41, 22)):
        short = write(tmp_path / "short.txt", rows({1: range(frames)}))
        with pytest.raises(ValueError, match=rf"short.txt holds {count} scenes, too few to train"):
            Scenes(str(short)).load(WINDOW)


@pytest.mark.parametrize("dt", [0.4, 0.8])
def test_no_frame_is_both_trained_on_and_held_out(tmp_path, dt):
    path = write(tmp_path / "walk.txt", rows({1: range(70)}))
    parts = Scenes(str(path)).load(Window(history=4, future=3, dt=dt))
    places = [{x for s in part for x in s.positions[0, :, 0].tolist()} for part in parts]
    assert places[0] and places[1] and max(places[0]) < min(places[1])


def test_files_of_scenes_of_their_own_lose_none(tmp_path):
    for i in range(10):
        argoverse_files.write(tmp_path / f"{i}")
    train, kept = Scenes(str(tmp_path)).load(Window())
    assert [len(train), len(kept)] == [9, 1]
