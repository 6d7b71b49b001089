"""ETH/UCY pedestrians: text of frame, person, x, y, and the standard leave-one-out protocol.

A window is 20 annotated frames, 8 observed and 12 to predict, at every frame where at least one
person is there in all 20. People who are there now but not all along are in the scene, and not
scored: who walks out later is not known now.

The standard file of the scene ETH is sampled every 10 frames of a video of 15 frames a second, so
its steps are 0.667 s, although every published table says 0.4 s. :func:`read_obsmat` reads the
authors' own annotation, whose steps are 0.4 s.

Source: Pellegrini et al. 2009, You'll never walk alone; Lerner et al. 2007, Crowds by example; the
    protocol is that of Gupta et al. 2018, Social GAN.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from domains.trajectory.scene import MOST_STEPS, Scene, directions

HISTORY, FUTURE, DT = 8, 12, 0.4
TESTED = {
    "eth": ("biwi_eth",),
    "hotel": ("biwi_hotel",),
    "univ": ("students001", "students003"),
    "zara1": ("crowds_zara01",),
    "zara2": ("crowds_zara02",),
}
CORRECTED = "eth-corrected"  # ETH from the original annotation, with its true steps of 0.4 s
RECORDINGS = (
    "biwi_eth",
    "biwi_hotel",
    "crowds_zara01",
    "crowds_zara02",
    "crowds_zara03",
    "students001",
    "students003",
    "uni_examples",
)
FOLDS = (*TESTED, CORRECTED)
WHOLE = 2**53  # beyond, floats skip whole numbers


@dataclass(frozen=True)
class Recording:
    """Who was where: one row per person and annotated frame.

    Args:
        name: of the file.
        frames: (n,), in steps from the first one.
        people: (n,), ids.
        positions: (n, 2) metres.
    """

    name: str
    frames: NDArray[np.int64]
    people: NDArray[np.int64]
    positions: NDArray[np.float64]


def read_text(path: Path) -> Recording:
    """Read rows of ``frame person x y``, frames 10 apart.

    Raises:
        ValueError: for a file that is not of this form, NaN, a frame or person that is no whole
            number, more than :data:`MOST_STEPS` steps, or a person twice in a frame.
    """
    return _recording(path, _table(path, 4), 10, (2, 3))


def read_obsmat(path: Path) -> Recording:
    """Read rows of ``frame person x z y vx vz vy``, frames 6 apart: the original annotation.

    Raises:
        ValueError: as :func:`read_text`.
    """
    return _recording(path, _table(path, 8), 6, (2, 4))


def windows(
    recording: Recording,
    people: int = 1,
    history: int = HISTORY,
    future: int = FUTURE,
    dt: float = DT,
    stride: int = 1,
) -> list[Scene]:
    """Cut a recording into scenes at every frame where enough people are there all along.

    Args:
        recording: of people.
        people: least number who are there in all frames (1, or 2 as Social GAN has it).
        history: observed frames.
        future: frames to predict.
        dt: seconds between frames.
        stride: frames between windows.
    """
    ids, who = np.unique(recording.people, return_inverse=True)
    last = int(recording.frames.max())
    grid = np.full((len(ids), last + 1, 2), np.nan)
    grid[who, recording.frames] = recording.positions
    seen = np.isfinite(grid).all(-1)
    length = history + future
    found = []
    for start in range(0, last + 2 - length, stride):
        valid = seen[:, start : start + length]
        scored = valid.all(1)
        if scored.sum() < people:
            continue
        there = np.flatnonzero(valid[:, history - 1])
        name = f"{recording.name}-{start}"
        part = grid[there, start : start + length]
        found.append(_scene(name, ids[there], part, scored[there], history, dt))
    return found


def testing_windows(root: Path, fold: str, people: int = 1) -> list[Scene]:
    """Return the windows of a fold's test recordings.

    Args:
        root: the folder with ``all_data`` and, for the corrected ETH, ``original_obsmat``.
        fold: one of :data:`FOLDS`.
        people: as in :func:`windows`.

    Raises:
        ValueError: for an unknown fold or missing files.
    """
    _require_fold(fold)
    if fold == CORRECTED:
        return windows(read_obsmat(root / "original_obsmat" / "eth_obsmat.txt"), people)
    paths = [root / "all_data" / f"{name}.txt" for name in TESTED[fold]]
    return [scene for path in paths for scene in windows(read_text(path), people)]


def training_windows(root: Path, fold: str, part: str = "train") -> list[Scene]:
    """Return the windows of all recordings but the fold's own.

    Args:
        root: the folder with ``train`` and ``val``.
        fold: one of :data:`FOLDS`.
        part: ``train`` or ``val``, cut in time.

    Raises:
        ValueError: for an unknown fold or part, or missing files.
    """
    _require_fold(fold)
    if part not in ("train", "val"):
        raise ValueError(f"a part is 'train' or 'val', got {part!r}")
    own = TESTED["eth" if fold == CORRECTED else fold]
    names = [name for name in RECORDINGS if name not in own]
    paths = [root / part / f"{name}_{part}.txt" for name in names]
    return [scene for path in paths for scene in windows(read_text(path))]


def _scene(
    name: str,
    ids: NDArray[np.int64],
    positions: NDArray[np.float64],
    scored: NDArray[np.bool_],
    history: int,
    dt: float,
) -> Scene:
    valid = np.asarray(np.isfinite(positions).all(-1))
    positions = np.where(valid[..., None], positions, 0.0)
    return Scene(
        name=name,
        ids=tuple(str(i) for i in ids),
        kinds=("pedestrian",) * len(ids),
        positions=positions,
        headings=directions(positions, valid, history - 1),
        valid=valid,
        now=history - 1,
        dt=dt,
        scored=scored,
    )


def _require_fold(fold: str) -> None:
    if fold not in FOLDS:
        raise ValueError(f"unknown fold {fold!r}; expected one of {', '.join(FOLDS)}")


def _table(path: Path, columns: int) -> NDArray[np.float64]:
    if not path.is_file():
        raise ValueError(f"{path} is not there; give the folder of the ETH/UCY text files")
    try:
        lines = [line for line in path.read_text().splitlines() if line.partition("#")[0].strip()]
        # NumPy warns of a table without rows, where one sentence follows.
        rows = np.loadtxt(lines, ndmin=2) if lines else np.empty((0, columns))
    except ValueError as error:
        raise ValueError(f"{path} is no table of numbers ({error}); check the file") from None
    if not len(rows) or rows.shape[1] != columns:
        raise ValueError(f"{path} needs rows of {columns} numbers, got shape {rows.shape}")
    if not np.isfinite(rows).all():
        line = int(np.flatnonzero(~np.isfinite(rows).all(1))[0])
        raise ValueError(f"{path}: row {line + 1} has a value that is no number; mend the file")
    return rows


def _whole(path: Path, values: NDArray[np.float64], name: str) -> NDArray[np.int64]:
    wrong = (values % 1 != 0) | (np.abs(values) > WHOLE)
    for value in values[wrong][:1]:
        raise ValueError(f"{path}: a {name} is a whole number, got {value:g}; mend the file")
    return values.astype(np.int64)


def _recording(
    path: Path, rows: NDArray[np.float64], step: int, columns: Sequence[int]
) -> Recording:
    frames, people = _whole(path, rows[:, 0], "frame"), _whole(path, rows[:, 1], "person")
    frames = frames - frames.min()
    if frames.max() // step >= MOST_STEPS:
        raise ValueError(
            f"{path}: frames lie within {MOST_STEPS} steps, got {frames.max() // step + 1}; mend "
            f"the first column"
        )
    # The original annotation shifts its grid of frames where nobody is there; within a person's
    # track it never does.
    order = np.lexsort((frames, people))
    same = np.diff(people[order]) == 0
    if (np.diff(frames[order])[same] % step).any():
        raise ValueError(f"{path}: frames are not {step} apart; is it of another format?")
    pairs = np.stack([frames, people], axis=1)
    unique, counts = np.unique(pairs, axis=0, return_counts=True)
    if len(unique) < len(pairs):
        frame, person = unique[counts > 1][0]
        raise ValueError(f"{path}: person {person} is twice in frame {frame}; mend the file")
    return Recording(path.stem, frames // step, people, rows[:, list(columns)])
