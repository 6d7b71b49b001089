"""Leap: how far the melody jumps.

The melody is the top voice: a note that starts while no higher note sounds belongs to it. Of notes
that start together the highest counts. Where the melody rests, the highest note below takes its
place.
"""

import re
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from domains.music.roll import PITCHES, Rolls
from domains.music.rules.rule import Rule
from domains.music.rules.sounding import sounding, starts

NO_MOVE = -1


@dataclass(frozen=True)
class Leap(Rule):
    """Features (B, T) int64: semitones to the last melody note where one starts, else -1.

    The target is the largest move allowed, in semitones. The loss, in [0, 1], is the share of moves
    that exceed it: 0 means none. A roll with fewer than two melody notes has loss 0.
    """

    name: ClassVar[str] = "leap"

    def measure(self, rolls: Rolls) -> Tensor:
        """Return the moves (B, T)."""
        row = torch.arange(PITCHES, device=rolls.velocity.device)
        top = torch.where(sounding(rolls), row, -1).amax(dim=-1)  # (B, T), -1 = silence
        top_start = torch.where(starts(rolls), row, -1).amax(dim=-1)
        melody = (top_start == top) & (top >= 0)
        # the column of the last melody note before each column, -1 = none
        column = torch.arange(top.shape[1], device=top.device)
        last = torch.where(melody, column, -1).cummax(dim=1).values
        last = torch.nn.functional.pad(last, (1, 0), value=-1)[:, :-1]
        move = (top - top.gather(1, last.clamp(min=0))).abs()
        return torch.where(melody & (last >= 0), move, NO_MOVE)

    def parse(self, text: str, columns: int) -> Tensor:
        """Read "max:7", in semitones.

        Raises:
            ValueError: for other text.
        """
        match = re.fullmatch(r"max:\s*(\d+)", text.strip())
        if match is None:
            raise ValueError(f"leap got {text!r}; give the largest move in semitones, max:7")
        return torch.tensor(int(match[1]))

    def loss(self, features: Tensor, target: Tensor) -> Tensor:
        """Return the share (B,) of moves that exceed the largest one allowed."""
        moves = (features != NO_MOVE).sum(dim=-1)
        return (features > target).sum(dim=-1) / moves.clamp(min=1)

    def show(self, features: Tensor) -> str:
        """Return the largest move."""
        return f"max:{max(int(features.max()), 0)}"

    def show_target(self, target: Tensor) -> str:
        """Return the limit."""
        return f"max:{int(target)}"

    def target_from(self, rolls: Rolls) -> Tensor:
        """Return the largest move of the first roll."""
        return self.measure(rolls)[0].max().clamp(min=0)
