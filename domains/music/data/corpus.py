"""A corpus: many rolls end to end in two arrays, with their bar lines, kept in one .npz file.

Conventions:
    P pieces fill T columns in all; piece p fills columns offsets[p] to offsets[p + 1] - 1.
    downbeat: (T,) bool, true where a bar starts. Songs have bars of odd length here and there, so
    bar lines are kept, not assumed; a clip is taken where all of its bars are whole.
    A chord holds from its start column to its end column; both count from the piece's column 0.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from os import getpid
from pathlib import Path
from typing import Literal, NamedTuple
from zipfile import BadZipFile

import numpy as np

from domains.music.roll import Grid, Roll

FORMAT = 1  # change it when the meaning of the stored arrays changes: old caches are then rebuilt
TEST_SHARE = 10  # one piece in ten is kept for tests
Split = Literal["train", "test"]


class Skip(NamedTuple):
    """A piece left out, and why."""

    name: str
    reason: str


class Chord(NamedTuple):
    """A chord label such as "F#:min7/b7" ("N" = none) over columns start to end - 1."""

    start: int
    end: int
    label: str


@dataclass(frozen=True)
class Piece:
    """One piece on its way into a corpus.

    Args:
        name: name, unique in its corpus.
        roll: its notes.
        downbeat: (T,) bool, true where a bar starts.
        chords: chord labels, if known.
        key: key such as "Gb:maj", or "" if unknown.
    """

    name: str
    roll: Roll
    downbeat: np.ndarray
    chords: tuple[Chord, ...] = ()
    key: str = ""


def regular_downbeats(columns: int, grid: Grid) -> np.ndarray:
    """Return bar lines, (T,) bool, at every whole bar from column 0."""
    downbeat = np.zeros(columns, bool)
    downbeat[:: grid.columns_per_bar] = True
    return downbeat


def is_test(name: str) -> bool:
    """Tell whether a piece is kept for tests, by its name only: other pieces cannot change it."""
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % TEST_SHARE == 0


@dataclass(frozen=True, eq=False)
class Corpus:
    """Rolls end to end.

    Args:
        velocity: (T, 88) uint8, 0..127.
        onset: (T, 88) bool.
        downbeat: (T,) bool.
        offsets: (P + 1,) first column of each piece, then T.
        labels: (P,) index into `sources`, the class of a piece.
        split: (P,) bool, true = test.
        tempo: (P,) beats a minute.
        names: (P,) str.
        keys: (P,) str, "" = unknown.
        chords: for each piece its chords, () = unknown.
        sources: names of the classes, such as ("pop909", "chorales").
        skipped: pieces left out.
        grid: time grid of all pieces.
    """

    velocity: np.ndarray
    onset: np.ndarray
    downbeat: np.ndarray
    offsets: np.ndarray
    labels: np.ndarray
    split: np.ndarray
    tempo: np.ndarray
    names: np.ndarray
    keys: np.ndarray
    chords: tuple[tuple[Chord, ...], ...]
    sources: tuple[str, ...]
    skipped: tuple[Skip, ...] = ()
    grid: Grid = field(default_factory=Grid)

    def __len__(self) -> int:
        """Return the number of pieces."""
        return len(self.names)

    def __getitem__(self, index: int) -> Roll:
        """Return one piece as a roll."""
        span = slice(self.offsets[index], self.offsets[index + 1])
        tempo = float(self.tempo[index])
        return Roll(self.velocity[span], self.onset[span], self.grid, tempo)

    @classmethod
    def of(
        cls, source: str, pieces: Sequence[Piece], skipped: Sequence[Skip], grid: Grid
    ) -> "Corpus":
        """Join pieces of one source.

        Raises:
            ValueError: if there is no piece.
        """
        if not pieces:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in skipped[:3])
            raise ValueError(
                f"no piece of {source} can be used; first reasons: {reasons or 'none'}"
            )
        lengths = [piece.roll.columns for piece in pieces]
        return cls(
            velocity=np.concatenate([piece.roll.velocity for piece in pieces]),
            onset=np.concatenate([piece.roll.onset for piece in pieces]),
            downbeat=np.concatenate([piece.downbeat for piece in pieces]),
            offsets=np.cumsum([0, *lengths]),
            labels=np.zeros(len(pieces), np.int64),
            split=np.array([is_test(piece.name) for piece in pieces]),
            tempo=np.array([piece.roll.tempo for piece in pieces]),
            names=np.array([piece.name for piece in pieces]),
            keys=np.array([piece.key for piece in pieces]),
            chords=tuple(piece.chords for piece in pieces),
            sources=(source,),
            skipped=tuple(skipped),
            grid=grid,
        )

    @classmethod
    def join(cls, corpora: Sequence["Corpus"]) -> "Corpus":
        """Join corpora; the label of a piece becomes the place of its corpus in the list.

        Raises:
            ValueError: if there is none, or the grids differ.
        """
        grids = {corpus.grid for corpus in corpora}
        if len(grids) != 1:
            raise ValueError(f"got corpora on the grids {sorted(map(str, grids))}; give one grid")
        first = np.cumsum([0, *(len(corpus.sources) for corpus in corpora)])
        start = np.cumsum([0, *(corpus.offsets[-1] for corpus in corpora)])
        parts = {
            name: np.concatenate([getattr(corpus, name) for corpus in corpora])
            for name in ("velocity", "onset", "downbeat", "split", "tempo", "names", "keys")
        }
        offsets = [c.offsets[:-1] + s for c, s in zip(corpora, start[:-1], strict=True)]
        labels = [c.labels + f for c, f in zip(corpora, first[:-1], strict=True)]
        return cls(
            **parts,
            offsets=np.concatenate([*offsets, start[-1:]]),
            labels=np.concatenate(labels),
            chords=tuple(chords for corpus in corpora for chords in corpus.chords),
            sources=tuple(source for corpus in corpora for source in corpus.sources),
            skipped=tuple(skip for corpus in corpora for skip in corpus.skipped),
            grid=grids.pop(),
        )

    def clips(
        self, split: Split | None = None, columns: int = 128, hop_bars: int = 8
    ) -> np.ndarray:
        """List the first columns (into `velocity`) of clips on bar lines, in order.

        A clip lies inside one piece, all of its bars are whole, and more than half of them have an
        onset. After a clip the search goes on `hop_bars` bars later, or at the next bar line.

        Args:
            split: which pieces; None is all.
            columns: length of a clip, whole bars.
            hop_bars: bars between the starts of clips, at least 1.

        Raises:
            ValueError: if `split` is unknown, `columns` is not whole bars or `hop_bars` < 1.
        """
        bar = self.grid.columns_per_bar
        if split not in (None, "train", "test"):
            raise ValueError(f"got split={split!r}; give 'train', 'test' or None")
        if columns < bar or columns % bar or hop_bars < 1:
            raise ValueError(
                f"got columns={columns} and hop_bars={hop_bars}; give a multiple of {bar} columns "
                "(one bar) and a hop of 1 or more"
            )
        starts: list[int] = []
        for index in range(len(self)):
            if split is None or self.split[index] == (split == "test"):
                starts += self._clips_of(index, columns, hop_bars * bar)
        return np.array(starts, np.int64)

    def _clips_of(self, index: int, columns: int, hop: int) -> list[int]:
        """List the clips of one piece."""
        first, last = self.offsets[index], self.offsets[index + 1]
        bar, bars = self.grid.columns_per_bar, columns // self.grid.columns_per_bar
        wanted = regular_downbeats(columns, self.grid)
        struck = np.any(self.onset[first:last], axis=1)
        starts: list[int] = []
        for start in np.flatnonzero(self.downbeat[first:last]) + first:
            end = start + columns
            if end > last or (starts and start < starts[-1] + hop):
                continue
            closed = end == last or self.downbeat[end]
            whole = closed and np.array_equal(self.downbeat[start:end], wanted)
            played = struck[start - first : end - first].reshape(bars, bar).any(1)
            if whole and 2 * played.sum() > bars:
                starts.append(int(start))
        return starts

    def save(self, path: Path) -> None:
        """Write one .npz without pickles, under a temporary name that is then renamed."""
        counts = [len(chords) for chords in self.chords]
        flat = [chord for chords in self.chords for chord in chords]
        meta = {"format": FORMAT, "grid": asdict(self.grid), "skipped": self.skipped}
        part = path.with_name(f"{path.stem}.{getpid()}.part.npz")
        np.savez_compressed(
            part,
            **{name: getattr(self, name) for name in _ARRAYS},
            sources=np.array(self.sources),
            chord_counts=np.array(counts, np.int64),
            chord_spans=np.array([chord[:2] for chord in flat], np.int64).reshape(-1, 2),
            chord_labels=np.array([chord.label for chord in flat], np.str_),
            meta=np.array(json.dumps(meta)),
        )
        part.replace(path)

    @classmethod
    def load(cls, path: Path) -> "Corpus":
        """Read what `save` wrote.

        Raises:
            ValueError: if the file is missing, is no such file or has another format.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = dict(file)
            meta = json.loads(str(arrays.pop("meta")))
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise ValueError(f"{path} is no corpus file ({error}); build it anew") from error
        if meta["format"] != FORMAT:
            raise ValueError(f"{path} has format {meta['format']}, not {FORMAT}; build it anew")
        spans, labels = arrays.pop("chord_spans").tolist(), arrays.pop("chord_labels").tolist()
        flat = [Chord(a, b, label) for (a, b), label in zip(spans, labels, strict=True)]
        ends = np.cumsum([0, *arrays.pop("chord_counts")])
        return cls(
            **{name: arrays[name] for name in _ARRAYS},
            chords=tuple(tuple(flat[a:b]) for a, b in pairwise(ends.tolist())),
            sources=tuple(arrays["sources"].tolist()),
            skipped=tuple(Skip(*skip) for skip in meta["skipped"]),
            grid=Grid(**meta["grid"]),
        )


_ARRAYS = "velocity onset downbeat offsets labels split tempo names keys".split()


def cached(
    folder: Path, source: str, fingerprint: str, grid: Grid, make: Callable[[], Corpus]
) -> Corpus:
    """Load a corpus from `folder`, or make it and keep it there.

    Args:
        folder: cache folder, made if missing.
        source: name of the corpus, the start of the file name.
        fingerprint: hash of the source data.
        grid: time grid.
        make: builds the corpus.
    """
    text = json.dumps([FORMAT, source, fingerprint, asdict(grid)])
    path = folder / f"{source}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.npz"
    if path.exists():
        return Corpus.load(path)
    folder.mkdir(parents=True, exist_ok=True)
    corpus = make()
    corpus.save(path)
    return corpus
