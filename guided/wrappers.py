"""Denoisers that change how another one is called, not what it predicts."""

from typing import Any

import torch
from torch import Tensor

from guided.cond import rows
from guided.denoiser import Denoiser, DenoiserWrapper, Prediction, predicted
from guided.schedule import Level


class Through(DenoiserWrapper):
    """Passes controls on to the denoiser inside."""

    @property
    def layers(self) -> int:
        """Return those of the denoiser inside."""
        return self.denoiser.layers

    def forward(self, x: Tensor, level: Level, cond: Any = None) -> Prediction:
        """Predict without a control."""
        return self.controlled(x, level, cond, None)


class Counted(Through):
    """Counts what a method spends: ``calls``, ``rows`` (samples evaluated) and ``vjps``.

    A vector-Jacobian product is counted when a gradient passes back through a prediction.
    """

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__(denoiser)
        self.reset()

    def reset(self) -> None:
        """Set all counters to zero."""
        self.calls = self.rows = self.vjps = 0

    def controlled(self, x: Tensor, level: Level, cond: Any, control: Any) -> Prediction:
        """Count the call and pass it on."""
        return predicted(self.denoiser, self._counted(x), level, cond, control)

    def _counted(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.rows += len(x)
        if not (torch.is_grad_enabled() and x.requires_grad):
            return x
        entrance = x.view_as(x)
        entrance.register_hook(self._count_vjp)
        return entrance

    def _count_vjp(self, _: Tensor) -> None:
        self.vjps += 1


class Chunked(Through):
    """Evaluates at most ``size`` rows at a time, for memory; the result is the same.

    Raises:
        ValueError: for a size below 1, or a denoiser with numbers per request.
    """

    def __init__(self, denoiser: Denoiser, size: int) -> None:
        super().__init__(denoiser)
        if size < 1:
            raise ValueError(f"Chunked needs a size of at least 1, got {size}")
        if denoiser.by_place:
            raise ValueError(
                f"Chunked would give rows of one request to another in {type(denoiser).__name__}, "
                f"which has numbers per request; put it around the network inside"
            )
        self.size = size

    def controlled(self, x: Tensor, level: Level, cond: Any, control: Any) -> Prediction:
        """Predict chunk by chunk under a control; None = none."""
        if len(x) <= self.size:
            return predicted(self.denoiser, x, level, cond, control)
        parts = []
        for start in range(0, len(x), self.size):
            stop = min(start + self.size, len(x))
            part = Level(*(rows(c, start, stop) if _per_row(c) else c for c in level))
            held = control.rows(start, stop) if control else None
            own, given = x[start:stop], rows(cond, start, stop)
            parts.append(predicted(self.denoiser, own, part, given, held))
        return Prediction(torch.cat([p.x0 for p in parts]), torch.cat([p.eps for p in parts]))


class Autocast(Through):
    """Evaluates the network in half precision; about twice as fast where the processor has it.

    Levels, steps and results keep the precision of x. Not for an exact law, which it would blur.

    Raises:
        ValueError: for a type that is no half precision.
    """

    def __init__(self, denoiser: Denoiser, dtype: torch.dtype = torch.bfloat16) -> None:
        super().__init__(denoiser)
        if dtype not in (torch.bfloat16, torch.float16):
            raise ValueError(f"Autocast needs torch.bfloat16 or torch.float16, got {dtype}")
        self.dtype = dtype

    def controlled(self, x: Tensor, level: Level, cond: Any, control: Any) -> Prediction:
        """Predict in half precision under a control; None = none."""
        with torch.autocast(x.device.type, self.dtype):
            x0, eps = predicted(self.denoiser, x, level, cond, control)
        return Prediction(x0.to(x), eps.to(x))


def _per_row(coefficient: Any) -> bool:
    return isinstance(coefficient, Tensor) and coefficient.ndim > 0 and len(coefficient) > 1
