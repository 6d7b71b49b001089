"""What every row of the registry is made of: an exact toy denoiser, and the row itself."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from guided import Denoiser, Level, Prediction
from guided.schedule import Schedule


class Toy(Denoiser):
    """The exact denoiser of N(c, 0.3^2 I) elementwise, for a condition c (B,) (default 0.5)."""

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        self.schedule = schedule

    def forward(self, x: torch.Tensor, level: Level, cond: Any = None) -> Prediction:
        mean = 0.5 if cond is None else cond.to(x).reshape(-1, *[1] * (x.ndim - 1))
        gain = level.alpha * 0.09 / (level.alpha**2 * 0.09 + level.sigma**2)
        x0 = mean + gain * (x - level.alpha * mean)
        return Prediction(x0, (x - level.alpha * x0) / level.sigma)


def null(cond: torch.Tensor) -> torch.Tensor:
    """The null condition of the toy."""
    return torch.full_like(cond, 0.5)


@dataclass(frozen=True)
class Row:
    """What a method is, how its neutral form is built, and what it costs."""

    make: Callable[[Denoiser], Any]
    calls: Callable[[int], int]
    rows: Callable[[int], int]
    neutral: Callable[[Denoiser], Any] | None = None
    base: Callable[[Denoiser], Any] | None = None
    coupled: bool = False
    vjps: Callable[[int], int] = lambda n: 0
