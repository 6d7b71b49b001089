"""Polyphony: how many notes sound together."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from domains.music.roll import PITCHES, Rolls
from domains.music.rules.rule import Rule
from domains.music.rules.sounding import sounding

ENDS = ("min", "max")


@dataclass(frozen=True)
class Polyphony(Rule):
    """Features (B, T) int64: the number of notes that sound in each column.

    The target (2,) is the fewest and the most allowed. The loss is the mean over columns of the
    number of notes too many or too few: 0 means never. An empty roll obeys every "max", and misses
    a "min" by all of it; rests count as 0 notes.
    """

    name: ClassVar[str] = "polyphony"

    def measure(self, rolls: Rolls) -> Tensor:
        """Return the numbers (B, T)."""
        return sounding(rolls).sum(dim=-1)

    def parse(self, text: str, columns: int) -> Tensor:
        """Read "max:4", "min:2" or "min:2,max:4".

        Raises:
            ValueError: for other text, or a minimum above the maximum.
        """
        target = torch.tensor([0, PITCHES])
        for part in text.split(","):
            end, _, number = part.strip().partition(":")
            if end not in ENDS or not number.strip().isdecimal():
                raise ValueError(f"polyphony got {part.strip()!r}; give max:4, min:2 or both")
            target[ENDS.index(end)] = int(number)
        if target[0] > target[1]:
            raise ValueError(f"polyphony got {text!r}; give a min that is not above the max")
        return target

    def loss(self, features: Tensor, target: Tensor) -> Tensor:
        """Return the mean number (B,) of notes too many or too few."""
        excess = (features - target[1]).clamp(min=0) + (target[0] - features).clamp(min=0)
        return excess.float().mean(dim=-1)

    def show(self, features: Tensor) -> str:
        """Return the extremes and the mean."""
        mean = features.float().mean()
        return f"min:{features.min():d},max:{features.max():d} (mean {mean:.2f})"

    def show_target(self, target: Tensor) -> str:
        """Return the limits."""
        low, high = target.tolist()
        return f"min:{low},max:{high}" if low else f"max:{high}"

    def target_from(self, rolls: Rolls) -> Tensor:
        """Return a maximum: the most notes that sound together in the first roll."""
        return torch.stack([torch.tensor(0), self.measure(rolls)[0].max().cpu()])
