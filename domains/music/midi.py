"""MIDI files to piano rolls. `Roll.to_midi` is the way back.

All tracks but drums are drawn into one roll. On a beat grid, columns follow the file's ticks, so
the tempo map does not move notes; on a fixed-rate grid (`Grid.fs`) they follow its seconds.
"""

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from symusic.core import ScoreTick

from domains.music.roll import LOWEST, PITCHES, Grid, Notes, Roll

MAX_BYTES = 16 * 2**20  # a note takes 3 bytes or more: this bounds the notes before any is read
MAX_COLUMNS = 100_000  # about 3.5 hours of sixteenths at 120 bpm
DEFAULT_TEMPO = 120.0
HEADER = 14  # bytes of a MIDI header


class MidiError(ValueError):
    """Raised when a MIDI file cannot become a roll."""


def read_midi(
    path: str | PathLike[str],
    grid: Grid | None = None,
    columns: int | None = None,
    limit: int = MAX_COLUMNS,
) -> Roll:
    """Read a MIDI file as a roll of whole bars; column 0 is time 0.

    Args:
        path: file to read.
        grid: time grid, whatever the file's metre; None is sixteenths in the file's metre.
        columns: length of the roll, to cut or to fill with silence; None is the bar after the end.
        limit: most columns allowed.

    Raises:
        MidiError: if the file is missing, damaged, without notes on the piano, or too long.
    """
    try:
        return roll_of(parse(read_bytes(Path(path))), grid, columns, limit)
    except MidiError as error:
        raise MidiError(f"{path}: {error}") from error


def read_bytes(path: Path) -> bytes:
    """Read a file of bearable size.

    Raises:
        MidiError: if it is missing or larger.
    """
    if not path.is_file():
        raise MidiError("there is no such file; give a MIDI file")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise MidiError(f"it has {size} bytes; at most {MAX_BYTES} are read")
    return path.read_bytes()


def parse(data: bytes) -> ScoreTick:
    """Parse the bytes of a MIDI file.

    Raises:
        MidiError: if they are none.
    """
    if len(data) < HEADER or data[:4] != b"MThd":
        raise MidiError("this is no MIDI file (it does not start with a MIDI header); give one")
    if data[12] & 0x80 or not int.from_bytes(data[12:14]):
        raise MidiError("its time is in SMPTE frames or zero; give a file in ticks a quarter note")
    try:
        score = ScoreTick.from_midi(data)
    except (RuntimeError, ValueError, IndexError) as error:
        raise MidiError(f"the MIDI data are damaged ({error}); give an intact file") from error
    if any(tempo.mspq <= 0 for tempo in score.tempos):
        raise MidiError("one of its tempos is 0 microseconds a quarter note; correct it")
    if any(m.numerator < 1 or m.denominator < 1 for m in score.time_signatures):
        raise MidiError("one of its time signatures has a zero; correct it")
    return score


def events(
    score: ScoreTick, *, seconds: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return start, end (in ticks or seconds), pitch and velocity of all notes but drums.

    Raises:
        MidiError: if no note lies on the piano, or times are damaged.
    """
    timed: Any = score.to("second") if seconds else score
    kept = [track for track in timed.tracks if not track.is_drum]
    tables = [track.notes.numpy() for track in kept if len(track.notes)]
    if not tables:
        drums = sum(len(track.notes) for track in timed.tracks)
        what = f"only drums ({drums} notes)" if drums else "no notes"
        raise MidiError(f"it holds {what}; give a file with at least one pitched note")
    joined = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
    pitch = joined["pitch"].astype(np.int64)
    on_piano = (pitch >= LOWEST) & (pitch < LOWEST + PITCHES)
    if not on_piano.any():
        raise MidiError(f"none of its {len(pitch)} notes is on the piano; give pitches 21 to 108")
    start = joined["time"][on_piano].astype(np.float64)
    end = start + joined["duration"][on_piano]
    if start.min() < 0 or (end < start).any():
        raise MidiError(
            "its times pass the largest tick (2^31) and wrap around; give a shorter file"
        )
    return start, end, pitch[on_piano], joined["velocity"][on_piano].astype(np.int64)


def quantise(start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Round times in columns to the nearest column (half up); a note lasts at least one."""
    first = np.floor(start + 0.5).astype(np.int64)
    return first, np.maximum(np.floor(end + 0.5).astype(np.int64), first + 1)


def roll_of(
    score: ScoreTick, grid: Grid | None, columns: int | None = None, limit: int = MAX_COLUMNS
) -> Roll:
    """Draw a parsed MIDI file as `read_midi` does.

    Raises:
        MidiError: as `read_midi`.
    """
    grid = grid or metre(score)
    tempo = mean_tempo(score)
    start, end, pitch, velocity = events(score, seconds=grid.fs is not None)
    scale = grid.fs or grid.columns_per_beat / score.ticks_per_quarter
    first, stop = quantise(start * scale, end * scale)
    bar = grid.columns_per_bar
    wanted = int(-(-stop.max() // bar)) * bar if columns is None else columns
    if not 1 <= wanted <= limit:
        raise MidiError(
            f"the roll would have {wanted} columns ({wanted // bar} bars); "
            f"1 to {limit} columns are allowed, so cut the file or raise the limit"
        )
    return Roll.from_notes(Notes(first, stop, pitch, velocity), wanted, grid, tempo)


def metre(score: ScoreTick) -> Grid:
    """Return sixteenths in the metre of the file, 4/4 if it names none.

    Raises:
        MidiError: if the metre changes or its bar is not a whole number of quarter notes.
    """
    kinds = {(m.numerator, m.denominator) for m in score.time_signatures} or {(4, 4)}
    bars = {4 * above / below for above, below in kinds}
    bar = bars.pop()
    if bars or bar != int(bar):
        names = ", ".join(f"{above}/{below}" for above, below in sorted(kinds))
        raise MidiError(f"its metre is {names}; give a grid to choose the bar")
    return Grid(beats_per_bar=int(bar))


def mean_tempo(score: ScoreTick) -> float:
    """Return the tempo, in beats a minute, that keeps the file's playing time."""
    end = max(score.end(), 1)
    later = sorted((t.time, t.qpm) for t in score.tempos if t.time < end)
    changes = {0: DEFAULT_TEMPO, **dict(later)}
    spans = np.diff([*changes, end])
    return float(spans.sum() / (spans / list(changes.values())).sum())
