r"""Chord progression: the scale degree of every window's chord, in the key of the roll.

Degrees: 1..7 for I to VII, 0 for no chord (silence). Quality and inversion do not count: vi, VI and
VI6 are all 6.
"""

import re
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from domains.music.roll import Rolls
from domains.music.rules.harmony import spelled, triads
from domains.music.rules.harmony.key import best_key
from domains.music.rules.harmony.snap import snap
from domains.music.rules.names import key_index
from domains.music.rules.rule import Rule, check_window, windows
from domains.music.rules.sounding import PITCH_CLASS, before, pitch_classes, sounding, starts

NUMERALS = ("N", "I", "II", "III", "IV", "V", "VI", "VII")
# degree of a root by semitones above the tonic; a chromatic root goes with the degree it alters
DEGREE = torch.tensor([1, 2, 2, 3, 3, 4, 4, 5, 6, 6, 7, 7])


@dataclass(frozen=True)
class ChordProgression(Rule):
    """Features (B, W) int64: a degree 0..7 a window. The loss is the fraction that differs.

    The key is estimated anew for every roll (`harmony.key`) unless given, so a progression may be
    obeyed in any key. An empty roll has all degrees 0.

    In the mode "neutral" a window's chord is the triad that fits its sounding time best
    (`harmony.triads`); it does not depend on spelling: a transposed roll has the same degrees.
    The mode "music21" copies the numbers of the original rule (`harmony.spelled`): the root of the
    longest slice of the window by spelled letters.

    Args:
        window: columns per window; 16 is a bar of sixteenths in 4/4.
        key: None estimates it; otherwise such as "A minor".
        mode: "neutral" or "music21".
        quarter: columns in a quarter note; used by "music21" to snap notes where it is above 4
            (50 for 10 ms columns at 120 bpm).

    Raises:
        ValueError: for an option out of range.

    Source: Huang et al. 2024, https://arxiv.org/abs/2402.14285, and its code (get_chords).
    Differs: "neutral" is the default. "music21" leaves out how music21, when it reads MIDI, gathers
        nearly simultaneous notes into chords; on 20 clips of real music it gives the original's key
        in all and its degree in 89 % of the windows.
    """

    window: int = 16
    key: str | None = None
    mode: Literal["neutral", "music21"] = "neutral"
    quarter: int = 4
    name: ClassVar[str] = "chord_progression"

    def __post_init__(self) -> None:
        """Check the options."""
        check_window(self.window, self.name)
        if self.mode not in ("neutral", "music21"):
            raise ValueError(
                f"chord_progression got mode={self.mode!r}; give 'neutral' or 'music21'"
            )
        if not isinstance(self.quarter, int) or self.quarter < 1:
            raise ValueError(f"chord_progression got quarter={self.quarter!r}; give columns, 1 up")
        if self.key is not None:
            key_index(self.key)

    def measure(self, rolls: Rolls) -> Tensor:
        """Return the degrees (B, W) int64.

        Raises:
            ValueError: if the rolls are not a whole number of windows long.
        """
        windows(rolls.velocity.shape[1], self.window, self.name)
        return self._neutral(rolls) if self.mode == "neutral" else self._music21(rolls)

    def parse(self, text: str, columns: int) -> Tensor:
        """Read roman numerals, "I-V-vi-IV"; a short progression repeats to fill the roll.

        Raises:
            ValueError: for another numeral, or more chords than windows.
        """
        numerals = _parts(text)
        for numeral in numerals:
            if numeral.upper() not in NUMERALS:
                raise ValueError(
                    f"{numeral!r} is no scale degree; give I, II, III, IV, V, VI or VII "
                    "(N for no chord), such as I-V-vi-IV"
                )
        degrees = [NUMERALS.index(numeral.upper()) for numeral in numerals]
        return fill(degrees, windows(columns, self.window, self.name), self.name)

    def loss(self, features: Tensor, target: Tensor) -> Tensor:
        """Return the fraction (B,) of windows whose degree differs."""
        return (features != target).float().mean(dim=-1)

    def show(self, features: Tensor) -> str:
        """Return the numerals, upper case."""
        return "-".join(NUMERALS[degree] for degree in features.tolist())

    def guide(self, rolls: Rolls, target: Tensor) -> Tensor:
        """Return the loss plus the mean lead (B,) of the best triad over the best one asked for.

        The loss alone has W + 1 values. The lead falls to 0 in every window as its chord changes
        to the asked one; the music21 mode, which compares no scores, has the loss alone.
        """
        loss = self.loss(self.measure(rolls), target)
        if self.mode == "music21":
            return loss
        time, bass, tonic = self._heard(rolls)
        score = triads.scores(time, bass)
        root = torch.arange(score.shape[-1], device=score.device) % 12
        degree = DEGREE.to(score.device)[(root - tonic[:, None]) % 12]  # (B, 36)
        asked = degree[:, None] == target[:, None]  # (B, W, 36)
        lead = score.amax(dim=-1) - score.where(asked, 0.0).amax(dim=-1)
        return loss + lead.where(target > 0, 0.0).mean(dim=-1)

    def _neutral(self, rolls: Rolls) -> Tensor:
        time, bass, tonic = self._heard(rolls)
        chord = triads.fit(time, bass)
        degree = DEGREE.to(chord.device)[(chord - 1 - tonic[:, None]) % 12]
        return torch.where(chord > 0, degree, 0)

    def _heard(self, rolls: Rolls) -> tuple[Tensor, Tensor, Tensor]:
        """Return sounding and bass time (B, W, 12) and the tonic (B,), from the lowest note."""
        cells = sounding(rolls)
        parts = cells.unflatten(1, (-1, self.window))
        time, bass = triads.sounding_time(parts), triads.bass_time(parts)
        # Count pitch classes from the lowest note of the roll instead of from C: then equally good
        # chords and keys, too, are chosen alike in all transpositions.
        lowest = PITCH_CLASS.to(cells.device)[cells.any(dim=1).to(torch.uint8).argmax(dim=-1)]
        time, bass = _count_from(lowest, time), _count_from(lowest, bass)
        if self.key is None:
            tonic = best_key(time.sum(dim=1)) % 12
        else:
            tonic = (key_index(self.key) - lowest) % 12
        return time, bass, tonic

    def _music21(self, rolls: Rolls) -> Tensor:
        cells, start = snap(sounding(rolls), starts(rolls), self.quarter)
        if self.key is None:
            key = best_key(pitch_classes(cells.sum(dim=1)))
        else:
            key = torch.full((len(cells),), key_index(self.key), device=cells.device)
        cut = ((cells != before(cells)) | start).any(dim=-1)
        cut[:, :: rolls.columns_per_bar] = True  # notes are tied over bar lines
        return spelled.degrees(spelled.longest_slice(cells, cut, self.window), key)


def is_progression(text: str) -> bool:
    """Tell whether a text is roman numerals, perhaps after options."""
    numerals = _parts(text.rpartition(";")[2])
    return bool(numerals) and all(numeral.upper() in NUMERALS for numeral in numerals)


def _parts(text: str) -> list[str]:
    return [part for part in re.split(r"[-\u2013,\s]+", text.strip()) if part]


def fill(chords: list[int], count: int, rule: str) -> Tensor:
    """Repeat chords over `count` windows, as (count,) int64.

    Raises:
        ValueError: if there are no chords, or more than windows.
    """
    if not 1 <= len(chords) <= count:
        raise ValueError(
            f"{rule} got {len(chords)} chords for a roll of {count} windows; "
            f"give 1 to {count} chords, or a longer roll"
        )
    return torch.tensor((chords * count)[:count])


def _count_from(lowest: Tensor, duration: Tensor) -> Tensor:
    """Renumber the pitch classes of durations (B, W, 12) so that class `lowest` (B,) is 0."""
    index = (torch.arange(12, device=lowest.device) + lowest[:, None]) % 12
    return duration.gather(-1, index[:, None].expand_as(duration))
