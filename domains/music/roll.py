"""Piano rolls: notes on a grid of time columns and piano keys.

Conventions:
    T: number of columns; a column is 1 / columns_per_beat of a beat, or 1 / fs of a second.
    velocity: (T, 88), 0 is silent; a note holds its velocity from its first to its last column.
    onset: (T, 88), true in the first column of a note; it tells a repeated note from a held one.
    Pitch row p is MIDI note p + 21: row 0 is A0, row 87 is C8. A beat is a quarter note.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from os import PathLike
from typing import NamedTuple

import numpy as np
import pretty_midi
import torch
from torch import Tensor

PITCHES = 88
LOWEST = 21
MAX_VELOCITY = 127
FIXED_RATE_BAR = 2.0  # seconds: a fixed-rate grid has no metre, its "bar" is 4 beats at 120 bpm
MIDI_RESOLUTION = 240  # ticks a quarter note
MAX_RESOLUTION = 32767  # the MIDI header has 15 bits for it
MINUTE = 6e7  # microseconds
MIN_TEMPO = MINUTE / (2**24 - 1)  # MIDI has 24 bits for the microseconds of a quarter note


@dataclass(frozen=True)
class Grid:
    """Where the columns of a roll lie in time.

    Args:
        columns_per_beat: columns in a quarter note (4 = sixteenths).
        beats_per_bar: quarter notes in a bar.
        fs: columns per second; None puts the columns on beats.

    Raises:
        ValueError: if a number is not positive.
    """

    columns_per_beat: int = 4
    beats_per_bar: int = 4
    fs: float | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("columns_per_beat", "beats_per_bar"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"Grid.{name} is {value!r}; give a whole number of 1 or more")
        if self.fs is not None and not 0 < self.fs < float("inf"):
            raise ValueError(f"Grid.fs is {self.fs!r}; give columns per second > 0, or None")

    @property
    def columns_per_bar(self) -> int:
        """Columns in a bar; a fixed-rate grid counts 2 seconds as a bar."""
        if self.fs is None:
            return self.columns_per_beat * self.beats_per_bar
        return max(1, round(self.fs * FIXED_RATE_BAR))

    def seconds(self, tempo: float) -> float:
        """Return the length of a column in seconds at `tempo` beats a minute."""
        return 1 / self.fs if self.fs is not None else 60 / (tempo * self.columns_per_beat)


class Notes(NamedTuple):
    """Notes as arrays of equal length N: the note n sounds in columns start[n] to end[n] - 1."""

    start: np.ndarray  # (N,) first column
    end: np.ndarray  # (N,) the column after the last
    pitch: np.ndarray  # (N,) MIDI note number
    velocity: np.ndarray  # (N,) 1..127


@dataclass(frozen=True, eq=False)
class Roll:
    """One piano roll.

    Args:
        velocity: (T, 88) uint8 in 0..127, 0 = silent.
        onset: (T, 88) bool, true where a note starts.
        grid: time grid of the columns.
        tempo: beats a minute, used to play the roll.

    Raises:
        ValueError: if shapes, types or ranges differ from these.
    """

    velocity: np.ndarray
    onset: np.ndarray
    grid: Grid = Grid()
    tempo: float = 120.0

    def __post_init__(self) -> None:
        """Check shapes, types and ranges."""
        for name, dtype in (("velocity", np.uint8), ("onset", np.bool_)):
            array = getattr(self, name)
            if array.ndim != 2 or array.shape[1] != PITCHES or array.dtype != dtype:
                raise ValueError(
                    f"Roll.{name} is {array.dtype} of shape {array.shape}; "
                    f"give {np.dtype(dtype)} of shape (T, {PITCHES})"
                )
        if self.velocity.shape != self.onset.shape:
            raise ValueError(
                f"Roll.velocity has {len(self.velocity)} columns and Roll.onset {len(self.onset)}; "
                "give both the same number"
            )
        if self.velocity.max(initial=0) > MAX_VELOCITY:
            raise ValueError(f"Roll.velocity reaches {self.velocity.max()}; MIDI stops at 127")
        if not MIN_TEMPO <= self.tempo <= MINUTE:
            raise ValueError(f"Roll.tempo is {self.tempo!r} beats a minute; give 3.6 or more")

    @property
    def columns(self) -> int:
        """Number of columns T."""
        return len(self.velocity)

    @classmethod
    def from_notes(
        cls, notes: Notes, columns: int, grid: Grid | None = None, tempo: float = 120.0
    ) -> "Roll":
        """Draw notes; where they overlap, the newest one's velocity holds and the last end counts.

        Args:
            notes: what to draw; pitches outside the piano and columns outside 0..T-1 are left out.
            columns: T.
            grid: time grid; None is sixteenths in 4/4.
            tempo: beats a minute.

        Raises:
            ValueError: if a velocity is outside 1..127.
        """
        if len(notes.velocity) and not 1 <= notes.velocity.min() <= notes.velocity.max() <= 127:
            low, high = notes.velocity.min(), notes.velocity.max()
            raise ValueError(f"got notes of velocity {low} to {high}; give 1 to {MAX_VELOCITY}")
        start, end = notes.start, np.minimum(notes.end, columns)
        row = notes.pitch - LOWEST
        keep = (row >= 0) & (row < PITCHES) & (start >= 0) & (start < end)
        start, end, row = start[keep], end[keep], row[keep]
        edges = np.zeros((columns + 1, PITCHES), np.int32)
        np.add.at(edges, (start, row), 1)
        np.add.at(edges, (end, row), -1)
        struck = np.zeros((columns, PITCHES), np.uint8)
        np.maximum.at(struck, (start, row), notes.velocity[keep].astype(np.uint8))
        onset = struck > 0
        held = _hold(struck, onset)
        velocity = np.where(edges[:-1].cumsum(0) > 0, held, 0).astype(np.uint8)
        return cls(velocity, onset, grid or Grid(), tempo)

    def notes(self) -> Notes:
        """Read the notes, by start column and then pitch.

        A note starts at an onset and lasts until the next onset or silence of its pitch. What
        sounds in column 0 starts there (a clip may cut a note); what sounds later without an
        onset before it belongs to no note and is left out.
        """
        sounding = self.velocity > 0
        onset = self.onset & sounding
        onset[:1] = sounding[:1]
        break_ = np.concatenate([onset | ~sounding, np.ones((1, PITCHES), bool)])
        index = np.arange(self.columns + 1)[:, None]
        # for each cell the first later column where a note of that pitch breaks off
        after = np.minimum.accumulate(np.where(break_, index, self.columns)[::-1], axis=0)[::-1]
        start, row = np.nonzero(onset)
        return Notes(start, after[start + 1, row], row + LOWEST, self.velocity[start, row])

    def to_midi(self, path: str | PathLike[str] | None = None) -> pretty_midi.PrettyMIDI:
        """Write the notes for one piano.

        Args:
            path: file to write; None writes none.
        """
        # pretty_midi cuts off fractions of a microsecond: give it a whole number and a little more
        tempo = MINUTE / (round(MINUTE / self.tempo) + 1e-3)
        column = self.grid.seconds(tempo)
        resolution = MIDI_RESOLUTION
        if self.grid.fs is not None:  # at least 4 ticks a column
            resolution = max(resolution, ceil(4 * 60 / (tempo * column)))
        elif resolution % self.grid.columns_per_beat:
            resolution = self.grid.columns_per_beat * 32
        midi = pretty_midi.PrettyMIDI(
            resolution=min(resolution, MAX_RESOLUTION), initial_tempo=tempo
        )
        metre = pretty_midi.TimeSignature(self.grid.beats_per_bar, 4, 0.0)
        midi.time_signature_changes.append(metre)
        piano = pretty_midi.Instrument(program=0, name="piano")
        for start, end, pitch, velocity in zip(*self.notes(), strict=True):
            note = pretty_midi.Note(int(velocity), int(pitch), start * column, end * column)
            piano.notes.append(note)
        midi.instruments.append(piano)
        if path is not None:
            midi.write(str(path))
        return midi

    def window(self, start: int, columns: int) -> "Roll":
        """Return columns start to start + columns - 1."""
        if start < 0 or columns < 1 or start + columns > self.columns:
            raise ValueError(
                f"a window of {columns} columns at {start} is not inside a roll of {self.columns}"
            )
        span = slice(start, start + columns)
        return replace(self, velocity=self.velocity[span], onset=self.onset[span])

    def transpose(self, semitones: int) -> "Roll":
        """Shift all notes; those that leave the piano are left out."""
        row = np.arange(PITCHES) - semitones
        inside = (row >= 0) & (row < PITCHES)
        row = row.clip(0, PITCHES - 1)
        velocity = np.where(inside, self.velocity[:, row], 0).astype(np.uint8)
        return replace(self, velocity=velocity, onset=self.onset[:, row] & inside)


class Rolls(NamedTuple):
    """A batch of rolls as tensors, what every rule reads.

    Args:
        velocity: (B, T, 88) float in [0, 1], MIDI velocity / 127, 0 = silent.
        onset: (B, T, 88) bool.
        columns_per_bar: columns in a bar.
    """

    velocity: Tensor
    onset: Tensor
    columns_per_bar: int = 16

    @classmethod
    def stack(cls, rolls: Sequence[Roll]) -> "Rolls":
        """Stack rolls of the same length and bar.

        Raises:
            ValueError: if there are none, or lengths or bars differ.
        """
        kinds = {(roll.columns, roll.grid.columns_per_bar) for roll in rolls}
        if len(kinds) != 1:
            raise ValueError(
                f"got rolls with (columns, columns a bar) {sorted(kinds)}; "
                "give at least one roll and all of one kind"
            )
        velocity = torch.from_numpy(np.stack([roll.velocity for roll in rolls]))
        onset = torch.from_numpy(np.stack([roll.onset for roll in rolls]))
        return cls(velocity.float() / MAX_VELOCITY, onset, kinds.pop()[1])

    def rolls(self, grid: Grid | None = None, tempo: float = 120.0) -> list[Roll]:
        """Return the batch as single rolls with velocities rounded to MIDI's 0..127.

        Args:
            grid: their time grid; None is sixteenths in 4/4.
            tempo: beats a minute.
        """
        scaled = (self.velocity.detach().cpu() * MAX_VELOCITY).round().clamp(0, MAX_VELOCITY)
        velocity, onset = scaled.to(torch.uint8).numpy(), self.onset.cpu().numpy()
        pairs = zip(velocity, onset, strict=True)
        return [Roll(v, o, grid or Grid(), tempo) for v, o in pairs]


def _hold(value: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Hold, down each column of `value`, the entry last marked by `at`."""
    index = np.where(at, np.arange(len(at))[:, None], 0)
    return np.take_along_axis(value, np.maximum.accumulate(index, axis=0), axis=0)
