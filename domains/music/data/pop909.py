"""POP909: 909 pop songs for piano with beats, chords and keys marked by hand or by machine.

Notes are put on the true beats of `beat_midi.txt`: its columns are the time of a beat in seconds,
the downbeats of two-beat bars and the downbeats of four-beat bars. The third is used. Songs of
three-beat bars have almost no bar of four there and are skipped.

Source: Wang et al. (2020), "POP909: A Pop-song Dataset for Music Arrangement Generation",
https://arxiv.org/abs/2008.07142
"""

import hashlib
import io
import tarfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from domains.music.data.corpus import Chord, Corpus, Piece, Skip, cached
from domains.music.midi import MAX_COLUMNS, MidiError, events, parse, quantise
from domains.music.roll import Grid, Notes, Roll

SOURCE = "pop909"
BEATS = "beat_midi.txt"
CHORDS = "chord_midi.txt"
KEYS = "key_audio.txt"
FOUR_BEAT_SHARE = 0.5  # of the bars of a song; songs lie below 0.05 or above 0.86


class Beats(NamedTuple):
    """Beats of a song: time (N,) in seconds, first: (N,) bool, true on the first of a bar."""

    time: np.ndarray
    first: np.ndarray

    def position(self, seconds: np.ndarray) -> np.ndarray:
        """Turn seconds into beats since beat 0, linearly between beats and past both ends."""
        step = np.diff(self.time)
        index = np.clip(np.searchsorted(self.time, seconds, "right") - 1, 0, len(step) - 1)
        return index + (seconds - self.time[index]) / step[index]


def pop909(path: Path, cache: Path, grid: Grid | None = None) -> Corpus:
    """Load POP909.

    Args:
        path: the archive (.tar.xz and the like) or the folder with one folder a song.
        cache: folder for the finished rolls.
        grid: beat grid of four-beat bars; None is sixteenths.

    Raises:
        ValueError: if the path holds no such songs, or the grid is not of four-beat bars.
    """
    grid = grid or Grid()
    if grid.fs is not None or grid.beats_per_bar != 4:
        raise ValueError(f"POP909 is read in bars of 4 beats, got {grid}; give such a beat grid")
    files = _read(Path(path))
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(name.encode() + hashlib.sha256(files[name]).digest())
    return cached(cache, SOURCE, digest.hexdigest(), grid, lambda: _build(files, grid))


def _read(path: Path) -> dict[str, bytes]:
    """Read the needed files of all songs, by "song/file"."""
    if path.is_dir():
        found = [file for file in path.rglob("*") if _wanted(file)]
        return {_key(file): file.read_bytes() for file in found}
    if not path.is_file() or not tarfile.is_tarfile(path):
        raise ValueError(f"{path} is neither a folder nor a tar archive; give POP909 as one")
    files: dict[str, bytes] = {}
    with tarfile.open(path) as archive:
        for member in archive:
            stream = archive.extractfile(member) if _wanted(Path(member.name)) else None
            if stream is not None:
                files[_key(Path(member.name))] = stream.read()
    return files


def _wanted(file: Path) -> bool:
    """Tell whether a file is a song's main MIDI file or one of its annotations."""
    return file.name in {f"{file.parent.name}.mid", BEATS, CHORDS, KEYS}


def _key(file: Path) -> str:
    return f"{file.parent.name}/{file.name}"


def _build(files: dict[str, bytes], grid: Grid) -> Corpus:
    """Read all songs."""
    pieces: list[Piece] = []
    skipped: list[Skip] = []
    for song in sorted({name.split("/")[0] for name in files}):
        try:
            pieces.append(_piece(song, files, grid))
        except ValueError as error:
            skipped.append(Skip(song, str(error)))
    return Corpus.of(SOURCE, pieces, skipped, grid)


def _piece(song: str, files: dict[str, bytes], grid: Grid) -> Piece:
    """Put one song on its beats; column 0 is a bar line at or before the first note and beat."""
    missing = [name for name in (f"{song}.mid", BEATS) if f"{song}/{name}" not in files]
    if missing:
        raise MidiError(f"its {' and '.join(missing)} is missing")
    beats = _beats(files[f"{song}/{BEATS}"])
    start, end, pitch, velocity = events(parse(files[f"{song}/{song}.mid"]), seconds=True)
    per_beat, bar = grid.columns_per_beat, grid.columns_per_bar
    first, stop = quantise(beats.position(start) * per_beat, beats.position(end) * per_beat)
    lines = np.flatnonzero(beats.first) * per_beat
    zero = lines[0] - bar * max(0, -(-(lines[0] - min(first.min(), 0)) // bar))
    columns = max(1, -(-(stop.max() - lines[-1]) // bar)) * bar + lines[-1] - zero
    if columns > MAX_COLUMNS:
        raise MidiError(f"it has {columns} columns on its beats; at most {MAX_COLUMNS} are read")
    downbeat = np.zeros(columns, bool)
    before = np.arange(lines[0], zero - 1, -bar)
    after = np.arange(lines[-1], zero + columns, bar)
    downbeat[np.concatenate([before, lines, after]) - zero] = True
    tempo = float(60 / np.median(np.diff(beats.time)))
    notes = Notes(first - zero, stop - zero, pitch, velocity)
    roll = Roll.from_notes(notes, int(columns), grid, tempo)
    chords = _chords(files.get(f"{song}/{CHORDS}", b""), beats, per_beat, int(zero), int(columns))
    return Piece(song, roll, downbeat, chords, _main_key(files.get(f"{song}/{KEYS}", b"")))


def _beats(text: bytes) -> Beats:
    """Read the beats of a song.

    Raises:
        MidiError: if they are damaged or the song is not in bars of four beats.
    """
    try:
        table = np.loadtxt(io.BytesIO(text), ndmin=2)
    except ValueError as error:
        raise MidiError(f"{BEATS} is damaged ({error})") from error
    if table.shape[0] < 2 or table.shape[1] != 3 or not (np.diff(table[:, 0]) > 0).all():
        raise MidiError(f"{BEATS} is not a rising table of 3 columns but has shape {table.shape}")
    first = table[:, 2] > 0
    lengths = np.diff(np.flatnonzero(first))
    share = (lengths == 4).mean() if len(lengths) else 0.0
    if share < FOUR_BEAT_SHARE:
        raise MidiError(f"only {share:.0%} of its bars have 4 beats; songs in 4/4 are read")
    return Beats(table[:, 0], first)


def _chords(text: bytes, beats: Beats, per_beat: int, zero: int, columns: int) -> tuple[Chord, ...]:
    """Put the chord labels (start, end in seconds, label) on the columns of the roll."""
    rows = [line.split() for line in text.decode().splitlines() if line.strip()]
    if not rows:
        return ()
    if any(len(row) != 3 for row in rows):
        raise MidiError(f"{CHORDS} is damaged (a line is not start, end, chord)")
    seconds = np.array([row[:2] for row in rows], np.float64)
    edges = np.rint(beats.position(seconds) * per_beat).astype(np.int64) - zero
    spans = edges.clip(0, columns).tolist()
    labels = [row[2] for row in rows]
    return tuple(Chord(a, b, c) for (a, b), c in zip(spans, labels, strict=True) if a < b)


def _main_key(text: bytes) -> str:
    """Return the key that holds longest."""
    time: dict[str, float] = {}
    for line in text.decode().splitlines():
        start, end, key = line.split()
        time[key] = time.get(key, 0.0) + float(end) - float(start)
    return max(time, key=lambda key: time[key]) if time else ""
