"""Rhythm: in which columns notes start."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from domains.music.roll import Rolls
from domains.music.rules.rule import Rule, check_window
from domains.music.rules.sounding import starts


@dataclass(frozen=True)
class Rhythm(Rule):
    """Features (B, T): 1 where at least one note starts, else 0.

    The loss, in [0, 1], is the share of columns in which a start is missing or too many: 0 means
    the exact rhythm. An empty roll misses every start of the pattern.

    Args:
        window: columns shown together in reports; 16 is a bar of sixteenths in 4/4.

    Raises:
        ValueError: for a window that is no positive whole number.
    """

    window: int = 16
    name: ClassVar[str] = "rhythm"

    def __post_init__(self) -> None:
        """Check the window."""
        check_window(self.window, self.name)

    def measure(self, rolls: Rolls) -> Tensor:
        """Return the starts (B, T)."""
        return starts(rolls).any(dim=-1).float()

    def parse(self, text: str, columns: int) -> Tensor:
        """Read "x..x..x.x..x..x.", a column a character; the pattern repeats to fill the roll.

        Spaces and bars "|" may group the columns.

        Raises:
            ValueError: for other characters, or if the pattern does not fill the roll evenly.
        """
        pattern = "".join(text.split()).replace("|", "").lower()
        if not pattern or set(pattern) - {"x", "."}:
            raise ValueError(f"rhythm got {text!r}; give x for a start and . for none: x..x..x.")
        if columns % len(pattern):
            raise ValueError(
                f"rhythm got a pattern of {len(pattern)} columns for a roll of {columns}; "
                "give a length that divides it, such as one bar"
            )
        cycle = torch.tensor([float(character == "x") for character in pattern])
        return cycle.repeat(columns // len(pattern))

    def loss(self, features: Tensor, target: Tensor) -> Tensor:
        """Return the share (B,) of columns that differ."""
        return (features - target).abs().mean(dim=-1)

    def show(self, features: Tensor) -> str:
        """Return the pattern, a bar between windows."""
        text = "".join("x" if start else "." for start in features.tolist())
        return "|".join(text[i : i + self.window] for i in range(0, len(text), self.window))
