"""ETH/UCY: small files by hand, and the counts of the standard protocol."""

import json
from dataclasses import replace

import numpy as np
import pytest

from domains.trajectory.batch import Window, case
from domains.trajectory.readers import eth_ucy
from domains.trajectory.readers.eth_ucy import (
    CORRECTED,
    DT,
    FOLDS,
    FUTURE,
    HISTORY,
    RECORDINGS,
    read_obsmat,
    read_text,
    training_windows,
    windows,
)
from domains.trajectory.scene import directions

LENGTH = HISTORY + FUTURE
WINDOW = Window(HISTORY, FUTURE, DT, pieces=0)


def rows(people, step=10, first=780):
    """Return rows of people who walk along x at half a metre a step, each in a range of frames."""
    return [
        (first + step * frame, person, 0.5 * frame + person, 2.0 * person)
        for person, frames in people.items()
        for frame in frames
    ]


def write(path, table):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join("\t".join(map(str, row)) + "\n" for row in table))
    return path


def leaving(stop):
    """A recording in which 2 leaves before the end, 3 comes late, 4 comes after now."""
    return {1: range(21), 2: range(stop), 3: range(5, 21), 4: range(10, 21)}


def test_windows_by_hand(tmp_path):
    recording = read_text(write(tmp_path / "walk.txt", rows(leaving(12))))
    assert recording.name == "walk" and recording.frames.min() == 0 and recording.frames.max() == 20
    first, second = windows(recording)
    assert (first.name, second.name) == ("walk-0", "walk-1")
    assert first.ids == second.ids == ("1", "2", "3")
    assert set(first.kinds) == {"pedestrian"} and first.road is None
    assert (first.now, first.dt, first.horizon) == (7, 0.4, 12)
    assert first.scored.tolist() == [True, False, False]
    assert first.valid.sum(1).tolist() == [20, 12, 15] and second.valid.sum(1).tolist() == [
        20,
        11,
        16,
    ]
    np.testing.assert_allclose(first.positions[0, 3], [0.5 * 3 + 1, 2])
    np.testing.assert_allclose(second.positions[1, 0], [0.5 + 2, 4])
    np.testing.assert_allclose(first.headings[first.valid], 0)
    assert (first.positions[~first.valid] == 0).all()


def test_windows_need_enough_people_all_along(tmp_path):
    recording = read_text(write(tmp_path / "a.txt", rows({1: range(22), 2: range(1, 21)})))
    assert [len(windows(recording, people)) for people in (1, 2, 3)] == [3, 1, 0]
    assert windows(recording, 2)[0].name == "a-1"
    assert [scene.name for scene in windows(recording, stride=2)] == ["a-0", "a-2"]
    short = windows(recording, history=3, future=2, dt=0.8)
    assert len(short) == 18 and short[0].valid.shape[1] == 5 and short[0].dt == 0.8


def test_gaps_of_frames_are_steps_without_anybody(tmp_path):
    table = rows({1: range(20)}) + rows({2: range(20)}, first=780 + 10 * 30)
    found = windows(read_text(write(tmp_path / "a.txt", table)))
    assert [(scene.name, scene.ids) for scene in found] == [("a-0", ("1",)), ("a-30", ("2",))]


def test_who_leaves_later_is_an_input_all_the_same(tmp_path):
    """The inputs of a window do not tell who stays until its end."""
    found = []
    for stop in (21, 12, 8):
        recording = read_text(write(tmp_path / "walk.txt", rows(leaving(stop))))
        scene = windows(recording)[0]
        found.append(case(scene, WINDOW))
        assert scene.scored.tolist() == [True, stop >= LENGTH, False]
    for other in found[1:]:
        assert other.agents.tolist() == [0, 1, 2]
        for part, same in zip(found[0].inputs, other.inputs, strict=True):
            np.testing.assert_array_equal(part, same)


def test_another_future_of_a_recording_is_no_other_input(tmp_path):
    random, table = np.random.default_rng(0), rows({1: range(20), 2: range(20), 3: range(4, 20)})
    walk = [(f, p, *(np.array([x, y]) + random.normal(0, 0.2, 2))) for f, p, x, y in table]
    later = [(f, p, x + 9 * (f > 850), -y * (f > 850) + y) for f, p, x, y in walk]
    ends = [row for row in later if row[1] != 3 or row[0] <= 850]
    whole, *others = (
        case(windows(read_text(write(tmp_path / "a.txt", t)))[0], WINDOW)
        for t in (walk, later, ends)
    )
    for other in others:
        for part, same in zip(whole.inputs, other.inputs, strict=True):
            np.testing.assert_array_equal(part, same)


def test_the_original_annotation(tmp_path):
    table = [(f, p, x, 0.0, y, 1.0, 0.0, 0.0) for f, p, x, y in rows({1: range(21)}, step=6)]
    write(tmp_path / "original_obsmat" / "eth_obsmat.txt", table)
    one, two = eth_ucy.testing_windows(tmp_path, CORRECTED)
    assert one.name == "eth_obsmat-0" and one.dt == 0.4
    np.testing.assert_allclose(two.positions[0, :, 0], 1 + 0.5 * np.arange(1, 21))
    np.testing.assert_allclose(two.positions[0, :, 1], 2)


def folder(root):
    """Write all files of the data set, each with a person of its own."""
    for i, name in enumerate(RECORDINGS):
        write(root / "all_data" / f"{name}.txt", rows({i: range(20)}))
        write(root / "train" / f"{name}_train.txt", rows({100 + i: range(20)}))
        write(root / "val" / f"{name}_val.txt", rows({200 + i: range(20)}))
    return root


@pytest.mark.parametrize("fold", ["eth", "hotel", "univ", "zara1", "zara2"])
def test_folds_leave_out_their_own(tmp_path, fold):
    own = {"eth": [0], "hotel": [1], "zara1": [2], "zara2": [3], "univ": [5, 6]}[fold]
    root = folder(tmp_path)
    assert [int(s.ids[0]) for s in eth_ucy.testing_windows(root, fold)] == own
    others = [i for i in range(8) if i not in own]
    assert [int(s.ids[0]) - 100 for s in training_windows(root, fold)] == others
    assert [int(s.ids[0]) - 200 for s in training_windows(root, fold, "val")] == others


def test_the_corrected_fold_trains_without_eth(tmp_path):
    root = folder(tmp_path)
    ids = [s.ids for s in training_windows(root, CORRECTED)]
    assert ids == [s.ids for s in training_windows(root, "eth")]


WALK = rows({1: range(20)})


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ([(*WALK[0][:2], "nan", 1.0), *WALK[1:]], "row 1 has a value that is no number; mend"),
        ([*WALK[:3], (810, 1, "inf", 1.0)], "row 4 has a value that is no number"),
        ([*WALK, WALK[4]], "person 1 is twice in frame 40; mend the file"),
        ([(785, 1, 1.0, 1.0), *WALK], "frames are not 10 apart; is it of another format"),
        (rows({1: range(20)}, step=6), "frames are not 10 apart"),
        ([row[:3] for row in WALK], r"needs rows of 4 numbers, got shape \(20, 3\)"),
        ([("frame", "id", "x", "y"), *WALK], "is no table of numbers .*; check the file"),
        ([*WALK, (980, 1)], "is no table of numbers"),
        ([], r"needs rows of 4 numbers, got shape \(0"),
        ([("# nobody",)], r"needs rows of 4 numbers, got shape \(0"),
        ([*WALK, (980.5, 1, 0, 0)], "a frame is a whole number, got 980.5; mend the file"),
        ([*WALK, (980, 1.5, 0, 0)], "a person is a whole number, got 1.5; mend the file"),
        ([*WALK, (980, 1e300, 0, 0)], r"a person is a whole number, got 1e\+300; mend"),
        ([*WALK, (780 + 10**6, 1, 0, 0)], "frames lie within 100000 steps, got 100001; mend"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_files_of_another_form_are_named(tmp_path, table, said):
    path = write(tmp_path / "walk.txt", table)
    with pytest.raises(ValueError, match=said) as error:
        read_text(path)
    assert str(path) in str(error.value)


def test_files_and_folds_that_are_not_there_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"biwi_eth.txt is not there; give the folder of the ETH"):
        eth_ucy.testing_windows(tmp_path, "eth")
    with pytest.raises(ValueError, match=r"biwi_hotel_val.txt is not there"):
        training_windows(tmp_path, "eth", "val")
    for read in (eth_ucy.testing_windows, training_windows):
        with pytest.raises(ValueError, match=f"unknown fold 'x'; expected one of {FOLDS[0]}, "):
            read(tmp_path, "x")
    with pytest.raises(ValueError, match="a part is 'train' or 'val', got 'test'"):
        training_windows(tmp_path, "eth", "test")
    with pytest.raises(ValueError, match=r"needs rows of 8 numbers, got shape \(20, 4\)"):
        read_obsmat(write(tmp_path / "a.txt", WALK))


# Windows and people with at least 1, and with at least 2 of them.
TESTS = {
    "eth": (253, 364, 70, 181),
    "hotel": (445, 1197, 301, 1053),
    "univ": (947, 24334, 947, 24334),
    "zara1": (705, 2356, 602, 2253),
    "zara2": (998, 5910, 921, 5833),
}
TRAINING = {
    "eth": (3283, 30307, 733, 5422),
    "hotel": (3118, 29676, 688, 5203),
    "univ": (2719, 9874, 622, 2800),
    "zara1": (2889, 28577, 671, 5184),
    "zara2": (2681, 26076, 590, 4262),
}


def sizes(scenes):
    return len(scenes), sum(int(scene.scored.sum()) for scene in scenes)


@pytest.mark.parametrize("fold", TESTS)
def test_counts_of_the_standard_test_windows(shared, fold):
    found = eth_ucy.testing_windows(shared / "data" / "eth_ucy", fold)
    pairs = [scene for scene in found if scene.scored.sum() >= 2]
    assert (*sizes(found), *sizes(pairs)) == TESTS[fold]
    if fold == "hotel":
        again = eth_ucy.testing_windows(shared / "data" / "eth_ucy", fold, people=2)
        assert [scene.name for scene in again] == [scene.name for scene in pairs]
    for scene in found[::50]:  # who is not scored is there now all the same
        assert scene.present.all() and scene.valid[scene.scored].all()
        blind = replace(scene.history(), headings=directions_of(scene.history()))
        for part, same in zip(case(scene, WINDOW).inputs, case(blind, WINDOW).inputs, strict=True):
            np.testing.assert_array_equal(part, same)


def directions_of(scene):
    return directions(scene.positions, scene.valid, scene.now)


@pytest.mark.parametrize(
    "fold",
    [
        "univ",
        *(pytest.param(f, marks=pytest.mark.slow) for f in ("eth", "hotel", "zara1", "zara2")),
    ],
)
def test_counts_of_the_standard_training_windows(shared, fold):
    root = shared / "data" / "eth_ucy"
    found = [*sizes(training_windows(root, fold)), *sizes(training_windows(root, fold, "val"))]
    assert tuple(found) == TRAINING[fold]


def test_folds_are_those_of_the_published_lists(shared):
    root = shared / "data" / "eth_ucy"
    lists = json.loads((root / "splits.json").read_text())
    for fold, parts in lists.items():
        own = {path.split("/")[1].removesuffix(".txt") for path in parts["test"]}
        for part in ("train", "val"):
            named = {path.split("/")[1].removesuffix(f"_{part}.txt") for path in parts[part]}
            assert named == set(RECORDINGS) - own
        assert fold in TESTS


def mean_step(recording):
    """Return the mean over people of their mean step, metres."""
    order = np.lexsort((recording.frames, recording.people))
    people, frames = recording.people[order], recording.frames[order]
    own = np.diff(people) == 0
    assert (np.diff(frames)[own] == 1).all()
    steps = np.linalg.norm(np.diff(recording.positions[order], axis=0), axis=-1)[own]
    return np.mean(
        [steps[people[1:][own] == person].mean() for person in np.unique(people[1:][own])]
    )


def test_steps_of_eth_are_longer_than_they_are_said_to_be(shared):
    """The same people at the same speed only if a step of the standard file is 0.667 s."""
    root = shared / "data" / "eth_ucy"
    standard = read_text(root / "all_data" / "biwi_eth.txt")
    original = read_obsmat(root / "original_obsmat" / "eth_obsmat.txt")
    assert len(standard.frames) == 5492 and len(original.frames) == 8908
    np.testing.assert_array_equal(np.unique(standard.people), np.unique(original.people))
    assert mean_step(standard) == pytest.approx(0.95, abs=0.01)
    assert mean_step(original) == pytest.approx(0.57, abs=0.01)
    assert mean_step(standard) / mean_step(original) == pytest.approx(10 / 6, rel=0.02)
    found = eth_ucy.testing_windows(root, CORRECTED)
    assert sizes(found) == (904, 2614)
    assert {scene.dt for scene in found} == {0.4}
