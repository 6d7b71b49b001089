r"""Chord tones: a soft companion of `chord_progression`, for guidance.

The progression's loss has few steps, and at high noise almost all candidates tie; this one falls
with every note that moves into the chord asked for. It is a guide, not part of the error that is
reported for a progression.

.. math:: E = \min_k \frac1W \sum_w \frac{\sum_{c \notin A_k(d_w)} h_{wc}}{\sum_c h_{wc}}

with the sounding time h of pitch class c in window w and the triad A on the degree asked for in
key k.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from domains.music.roll import Rolls
from domains.music.rules.chords import NUMERALS, ChordProgression
from domains.music.rules.harmony.triads import sounding_time
from domains.music.rules.names import MAJOR, PITCH_CLASSES, SCALES, key_index
from domains.music.rules.rule import Rule, windows
from domains.music.rules.sounding import sounding


def _triads() -> Tensor:
    """Return the pitch classes (24, 8, 12) of the triad on degree 0..7 of every key, as 0/1.

    Degree 0 is empty. Minor keys are natural, with the major dominant.
    """
    chart = torch.zeros(24, 8, 12)
    for key in range(24):
        for degree in range(1, 8):
            raised = key >= 12 and degree == 5
            scale = MAJOR if key < 12 else SCALES["harmonic minor" if raised else "minor"]
            steps = [scale[(degree - 1 + third) % 7] for third in (0, 2, 4)]
            chart[key, degree, [(key + step) % 12 for step in steps]] = 1
    return chart


TRIADS = _triads()


@dataclass(frozen=True)
class ChordTones(Rule):
    """Features (B, W, 12): sounding time of the pitch classes. The target is degrees (W,).

    The loss lies in [0, 1]: the share of the sounding time outside the triads asked for, averaged
    over windows, in the key that suits best. A silent window counts 1, or 0 if N asks for it.

    Args:
        window: columns per window; 16 is a bar of sixteenths in 4/4.
        key: None takes the best key of each roll; otherwise such as "A minor".

    Raises:
        ValueError: for an option out of range.
    """

    window: int = 16
    key: str | None = None
    name: ClassVar[str] = "chord_tones"

    def __post_init__(self) -> None:
        """Check the options, which are those of the progression."""
        self._progression()

    def measure(self, rolls: Rolls) -> Tensor:
        """Return the sounding time (B, W, 12) in columns.

        Raises:
            ValueError: if the rolls are not a whole number of windows long.
        """
        windows(rolls.velocity.shape[1], self.window, self.name)
        return sounding_time(sounding(rolls).unflatten(1, (-1, self.window)))

    def parse(self, text: str, columns: int) -> Tensor:
        """Read roman numerals as `ChordProgression` does."""
        return self._progression().parse(text, columns)

    def loss(self, features: Tensor, target: Tensor) -> Tensor:
        """Return the share (B,) of the sounding time outside the triads asked for."""
        keys = slice(None) if self.key is None else [key_index(self.key)]
        triads = TRIADS.to(features.device)[keys][:, target]  # (keys, W, 12)
        inside = torch.einsum("bwc,kwc->bkw", features, triads)
        total = features.sum(dim=-1)[:, None]
        outside = 1 - inside / total.clamp(min=1)
        outside = torch.where((total == 0) & (target == 0), 0.0, outside)
        return outside.mean(dim=-1).amin(dim=-1)

    def show(self, features: Tensor) -> str:
        """Return the three strongest pitch classes of every window."""
        return " | ".join(_strongest(window) for window in features)

    def show_target(self, target: Tensor) -> str:
        """Return the numerals."""
        return "-".join(NUMERALS[degree] for degree in target.tolist())

    def target_from(self, rolls: Rolls) -> Tensor:
        """Return the degrees (W,) of the first roll."""
        return self._progression().target_from(rolls)

    def _progression(self) -> ChordProgression:
        return ChordProgression(self.window, self.key)


def _strongest(duration: Tensor) -> str:
    order = duration.argsort(descending=True, stable=True)[:3].tolist()
    return " ".join(PITCH_CLASSES[c] for c in sorted(order) if duration[c] > 0) or "N"
