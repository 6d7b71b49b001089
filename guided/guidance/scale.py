r"""The scale w of a contrast: a number, one per request, or a function of the level.

w = 1 is neutral everywhere. Papers that count from the strong prediction, :math:`s = w - 1`, are
served by :func:`from_s`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from guided.schedule import Level


@dataclass(frozen=True, eq=False)
class Interval:
    """A scale w, a number or one per request (R,), where low < sigma / alpha <= high; 1 else."""

    scale: float | Tensor
    low: float
    high: float

    def __call__(self, level: Level) -> float | Tensor:
        """Return w at a level."""
        return self.scale if self.low < level.noise_to_signal <= self.high else 1.0


Scale = float | Tensor | Interval | Callable[[Level], float]


def from_s(s: float) -> float:
    """Return w = 1 + s, of a scale s whose neutral value is 0."""
    return 1.0 + s


def interval(scale: float | Tensor, low: float = 0.0, high: float = math.inf) -> Interval:
    r"""Return the scale w where :math:`low < \sigma / \alpha \le high`, and 1 elsewhere.

    Args:
        scale: w, a number or one per request (R,).
        low: see there; 0 is neutral.
        high: see there; infinity is neutral.

    Raises:
        ValueError: for bounds that are turned round.

    Source: Kynkaanniemi et al. 2024, Applying guidance in a limited interval, section 3.
    """
    require_interval(low, high)
    return Interval(scale, low, high)


def require_interval(low: float, high: float) -> None:
    """Refuse an interval of noise levels that is turned round.

    Raises:
        ValueError: in words.
    """
    if not low <= high:
        raise ValueError(
            f"the interval of noise levels is turned round: low={low} is above high={high}; give "
            f"the smaller ratio of noise to signal as low"
        )


def weight(scale: Scale, level: Level) -> float | Tensor:
    """Return w at a level: a number, or (R,)."""
    if isinstance(scale, Interval):
        return scale(level)
    return float(scale(level)) if callable(scale) else scale


def of_requests(scale: Scale) -> bool:
    """Return whether a scale has numbers of several requests, who are told apart by place."""
    inner = scale.scale if isinstance(scale, Interval) else scale
    return isinstance(inner, Tensor) and inner.numel() > 1


def neutral(scale: Scale) -> bool:
    """Return whether a scale is 1 for every request and at every level, as far as can be known."""
    return bool((scale == 1).all()) if isinstance(scale, Tensor) else scale == 1


def per_row(scale: float | Tensor, x: Tensor) -> float | Tensor:
    """Return a scale per request (R,) as (B, 1, ...), for x (B, ...); numbers stay.

    Raises:
        ValueError: for a scale that is not (R,), or whose R does not divide B.
    """
    if not isinstance(scale, Tensor):
        return scale
    if scale.ndim != 1 or not len(scale) or len(x) % len(scale):
        raise ValueError(
            f"a scale per request is (R,) with R a divisor of the batch, got {tuple(scale.shape)} "
            f"for {len(x)} rows"
        )
    rows = scale.to(x).repeat_interleave(len(x) // len(scale))
    return rows.reshape(-1, *[1] * (x.ndim - 1))


def shared(scale: float | Tensor, share: Tensor) -> Tensor:
    """Return 1 + (w - 1) share of every row (B,), for a scale w and its share (B,)."""
    return 1 + (per_row(scale, share) - 1) * share


def checked(scale: Scale, method: str) -> Scale:
    """Return a scale as a method keeps it.

    Raises:
        ValueError: for one that is not finite, or of no request.
    """
    if isinstance(scale, Interval):
        checked(scale.scale, method)
    if callable(scale):
        return scale
    if isinstance(scale, Tensor) and not scale.numel():
        # All of nothing is 1, and it would pass for neutral.
        raise ValueError(f"{method} needs a scale per request, got none: {scale}")
    finite = torch.as_tensor(scale).isfinite().all()
    if not finite:
        raise ValueError(f"{method} needs a finite scale, got {scale}; 1 is neutral")
    return scale if isinstance(scale, Tensor) else float(scale)
