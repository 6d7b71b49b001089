"""What every row of the registry is made of: an exact toy denoiser, and the row itself."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from guided import Denoiser, DenoiserWrapper, Level, Prediction
from guided.nets import Control, Stacked
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


class ControlToy(DenoiserWrapper):
    """A toy network of three blocks that takes controls: each moves x0 by a rule of its own.

    Its tokens are the numbers of a sample, and token q looks at token j the more, the greater x_j.
    """

    @property
    def layers(self) -> int:
        return 3

    def forward(self, x: torch.Tensor, level: Level, cond: Any = None) -> Prediction:
        return self.denoiser(x, level, cond)

    def controlled(self, x: torch.Tensor, level: Level, cond: Any, control: Any) -> Prediction:
        control.require_layers(self.layers, "ControlToy")
        plain = self.denoiser(x, level, cond)
        parts, sizes = ([control], [len(x)])
        if isinstance(control, Stacked):
            parts, sizes = control.parts, control.sizes
        rows = zip(parts, x.split(sizes), plain.x0.split(sizes), strict=True)
        x0 = torch.cat([_moved(own, a, b) if own else b for own, a, b in rows])
        return Prediction(x0, (x - level.alpha * x0) / level.sigma)


def _moved(control: Control, x: torch.Tensor, x0: torch.Tensor) -> torch.Tensor:
    if control.maps:
        flat = x.flatten(1)
        looks = flat.softmax(-1)[:, None, None].expand(-1, 2, flat.shape[1], -1)
        for layer in control.maps.layers:
            control.maps.receive(layer, looks, (flat.shape[1],))
    if control.attention:
        strength = {"identity": 1.0, "drop": 2.0}.get(control.attention.mode, 0.7)
        x0 = x0 - 0.1 * strength * len(control.attention.layers) * x0.tanh()
    if control.skip:
        x0 = x0 - 0.2 * (1 - control.skip.keep) * sum(1 + i for i in control.skip.layers) * x0.sin()
    if control.embedding:
        width = torch.ones(len(x0), 8, dtype=x0.dtype)
        told = control.embedding(width).mean(1).reshape(-1, *[1] * (x0.ndim - 1))
        x0 = x0 * (1 + 0.1 * (told - 1))
    return x0


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
