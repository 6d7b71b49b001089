"""Parallels: voices that move together in perfect fifths or octaves.

Two voices move from one column to the next where both change their pitch. The move is parallel if
both go in the same direction and the interval between them is a perfect fifth before and after, or
an octave before and after (octaves may be added: a twelfth is a fifth).
"""

from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar

import torch
from torch import Tensor

from domains.music.roll import PITCHES, Rolls
from domains.music.rules.rule import Rule
from domains.music.rules.sounding import sounding

FIFTH, OCTAVE = 7, 0


@dataclass(frozen=True)
class Parallels(Rule):
    """Features (B, 2): the share of the changes that are parallel fifths, and parallel octaves.

    A change is a pair of neighbouring columns in which the pitches of the voices differ. The target
    is the largest share allowed, "0" to forbid parallels. The loss is how far the sum of both
    shares exceeds it: 0 means obeyed. A roll without two voices has loss 0.

    Args:
        voices: 0 compares the lowest with the highest note that sounds. A number of 2 or more reads
            columns in which exactly so many notes sound, sorts them by pitch and compares every
            pair of voices (the shares may then sum to more than 1).

    Raises:
        ValueError: for an option out of range.
    """

    voices: int = 0
    name: ClassVar[str] = "parallels"

    def __post_init__(self) -> None:
        """Check the number of voices."""
        if not isinstance(self.voices, int) or not (self.voices == 0 or 2 <= self.voices <= 8):
            raise ValueError(
                f"parallels got voices={self.voices!r}; give 2 to 8, or 0 for the outer voices"
            )

    def measure(self, rolls: Rolls) -> Tensor:
        """Return the shares (B, 2)."""
        pitch, present = self._voices(sounding(rolls))
        both = present[:, 1:] & present[:, :-1]  # (B, T-1)
        old, new = pitch[:, :-1], pitch[:, 1:]
        changes = (both & (old != new).any(dim=-1)).sum(dim=-1)
        counts = torch.zeros(len(pitch), 2, device=pitch.device)
        for high, low in combinations(range(pitch.shape[-1]), 2):
            moves = new[..., [high, low]] - old[..., [high, low]]
            together = both & (moves.sign().prod(dim=-1) == 1)
            gap_old = (old[..., high] - old[..., low]) % 12
            gap_new = (new[..., high] - new[..., low]) % 12
            for kind, interval in enumerate((FIFTH, OCTAVE)):
                same = together & (gap_old == interval) & (gap_new == interval)
                counts[:, kind] += same.sum(dim=-1)
        return counts / changes[:, None].clamp(min=1)

    def parse(self, text: str, columns: int) -> Tensor:
        """Read the largest share of parallels allowed, "0".

        Raises:
            ValueError: if it is no number in [0, 1].
        """
        try:
            share = float(text)
        except ValueError:
            share = -1.0
        if not 0 <= share <= 1:
            raise ValueError(f"parallels got {text!r}; give the share allowed, 0 to 1")
        return torch.tensor(share)

    def loss(self, features: Tensor, target: Tensor) -> Tensor:
        """Return by how much (B,) the share of parallels exceeds the one allowed."""
        return (features.sum(dim=-1) - target).clamp(min=0)

    def show(self, features: Tensor) -> str:
        """Return both shares."""
        return f"fifths {features[0]:.1%}, octaves {features[1]:.1%}"

    def show_target(self, target: Tensor) -> str:
        """Return the share allowed."""
        return f"at most {float(target):.1%}"

    def target_from(self, rolls: Rolls) -> Tensor:
        """Return the share of parallels of the first roll."""
        return self.measure(rolls)[0].sum()

    def _voices(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Return the voices' rows (B, T, V), highest first, and where all are present (B, T)."""
        number = cells.sum(dim=-1)
        row = torch.arange(PITCHES, device=cells.device)
        heights = torch.where(cells, row, -1)
        if self.voices:
            return heights.topk(self.voices, dim=-1).values, number == self.voices
        lowest = cells.to(torch.uint8).argmax(dim=-1)
        return torch.stack([heights.amax(dim=-1), lowest], dim=-1), number >= 2
