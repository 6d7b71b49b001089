r"""Note density: how many notes sound together, and how many columns start one, per window.

vertical_w is the mean over the window's columns of the number of sounding pitches; horizontal_w is
the number of columns of the window in which at least one note starts, divided by a scale.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from domains.music.roll import Rolls
from domains.music.rules.rule import Rule, check_window, windows
from domains.music.rules.sounding import before, sounding, starts

AXES = ("vertical", "horizontal")


@dataclass(frozen=True)
class NoteDensity(Rule):
    """Features (B, 2 W): W vertical, then W horizontal densities; an empty roll has zeros.

    The loss is the mean squared error over the numbers that the target asks for (NaN = free).

    Args:
        window: columns per window; 16 is a bar of sixteenths in 4/4.
        horizontal_scale: divides the horizontal numbers, so that both axes weigh alike.
        starts: "onset" counts by the onset channel, so a repeated note starts again; "sustain"
            counts where a pitch begins to sound after silence, as the original does.

    Raises:
        ValueError: for an option out of range.

    Source: Huang et al. 2024, https://arxiv.org/abs/2402.14285, and its code (note_density).
    Differs: starts="onset" is the default, because back-to-back repeats are common on a beat grid.
    """

    window: int = 16
    horizontal_scale: float = 5.0
    starts: Literal["onset", "sustain"] = "onset"
    name: ClassVar[str] = "note_density"

    def __post_init__(self) -> None:
        """Check the options."""
        check_window(self.window, self.name)
        if not self.horizontal_scale > 0:
            raise ValueError(
                f"note_density got horizontal_scale={self.horizontal_scale!r}; give a number > 0"
            )
        if self.starts not in ("onset", "sustain"):
            raise ValueError(f"note_density got starts={self.starts!r}; give 'onset' or 'sustain'")

    def measure(self, rolls: Rolls) -> Tensor:
        """Return the densities (B, 2 W).

        Raises:
            ValueError: if the rolls are not a whole number of windows long.
        """
        played = sounding(rolls)
        count = windows(played.shape[1], self.window, self.name)
        start = starts(rolls) if self.starts == "onset" else played & ~before(played)
        vertical = played.sum(dim=-1).unflatten(1, (count, self.window)).float().mean(dim=-1)
        horizontal = start.any(dim=-1).unflatten(1, (count, self.window)).float().sum(dim=-1)
        return torch.cat([vertical, horizontal / self.horizontal_scale], dim=-1)

    def parse(self, text: str, columns: int) -> Tensor:
        """Read "vertical:3,horizontal:6", or a number a window: "vertical:2 2 3 3 4 4 3 3".

        Vertical is in notes sounding together, horizontal in starts a window (the scale is applied
        here). An axis that is not named is free.

        Raises:
            ValueError: for other text, or another number of windows.
        """
        count = windows(columns, self.window, self.name)
        target = torch.full((2, count), torch.nan)
        for part in text.split(","):
            axis, _, numbers = part.strip().partition(":")
            if axis not in AXES:
                raise ValueError(
                    f"note_density got {part.strip()!r}; give vertical:3, horizontal:6 or both"
                )
            target[AXES.index(axis)] = _numbers(numbers, count)
        target[1] /= self.horizontal_scale
        return target.flatten()

    def loss(self, features: Tensor, target: Tensor) -> Tensor:
        """Return the mean squared error (B,) over what the target asks for."""
        asked = ~target.isnan()
        error = torch.where(asked, features - target, 0.0).square()
        return error.sum(dim=-1) / asked.sum()

    def show(self, features: Tensor) -> str:
        """Return both axes, a number a window."""
        vertical, horizontal = features.unflatten(-1, (2, -1))
        rows = (vertical, horizontal * self.horizontal_scale)
        texts = (" ".join("free" if x != x else f"{x:.3g}" for x in row.tolist()) for row in rows)
        return ", ".join(f"{axis}:{text}" for axis, text in zip(AXES, texts, strict=True))


def _numbers(text: str, count: int) -> Tensor:
    try:
        values = [float(part) for part in text.split()]
    except ValueError:
        raise ValueError(f"note_density got {text!r}; give numbers such as 2 2 3 3") from None
    if len(values) not in (1, count) or not all(0 <= value < float("inf") for value in values):
        raise ValueError(
            f"note_density got {text.strip()!r}; give 1 or {count} numbers of 0 or more"
        )
    return torch.tensor(values)
