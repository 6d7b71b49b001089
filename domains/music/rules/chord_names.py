"""Chords: the triad of every window by name, such as C, Am or Bdim."""

import re
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from domains.music.roll import Rolls
from domains.music.rules.chords import fill
from domains.music.rules.harmony import triads
from domains.music.rules.names import PITCH_CLASSES, pitch_class
from domains.music.rules.rule import Rule, check_window, windows
from domains.music.rules.sounding import sounding

NAMES = ("N", *(root + quality for quality in triads.QUALITIES for root in PITCH_CLASSES))


@dataclass(frozen=True)
class Chords(Rule):
    """Features (B, W) int64: the triad 0..36 of a window, numbered as in `harmony.triads`.

    The loss is the fraction of windows whose root or quality differs. A silent window has chord 0,
    so an empty roll misses every chord.

    Args:
        window: columns per window; 16 is a bar of sixteenths in 4/4.

    Raises:
        ValueError: for a window that is no positive whole number.
    """

    window: int = 16
    name: ClassVar[str] = "chords"

    def __post_init__(self) -> None:
        """Check the window."""
        check_window(self.window, self.name)

    def measure(self, rolls: Rolls) -> Tensor:
        """Return the triads (B, W) int64.

        Raises:
            ValueError: if the rolls are not a whole number of windows long.
        """
        windows(rolls.velocity.shape[1], self.window, self.name)
        parts = sounding(rolls).unflatten(1, (-1, self.window))
        return triads.fit(triads.sounding_time(parts), triads.bass_time(parts))

    def parse(self, text: str, columns: int) -> Tensor:
        """Read chord names, "C-G-Am-F"; a short progression repeats to fill the roll.

        Raises:
            ValueError: for another name, or more chords than windows.
        """
        names = [part for part in re.split(r"[-\u2013,\s]+", text.strip()) if part]
        chords = [_number(name) for name in names]
        return fill(chords, windows(columns, self.window, self.name), self.name)

    def loss(self, features: Tensor, target: Tensor) -> Tensor:
        """Return the fraction (B,) of windows whose chord differs."""
        return (features != target).float().mean(dim=-1)

    def show(self, features: Tensor) -> str:
        """Return the chord names."""
        return "-".join(NAMES[chord] for chord in features.tolist())


def _number(name: str) -> int:
    match = re.fullmatch(r"([A-G][#b]?)(m|dim)?", name)
    if match is None and name != "N":
        raise ValueError(
            f"{name!r} is no chord; give a root with nothing (major), m (minor) or dim behind it, "
            "or N for no chord, such as C-G-Am-F"
        )
    if match is None:
        return 0
    root, quality = match.groups()
    return 1 + 12 * list(triads.QUALITIES).index(quality or "") + pitch_class(root)
