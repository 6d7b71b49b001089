"""What a difference of two methods may well be, from windows that overlap.

Windows begin one step after another and last twenty, so that neighbours say almost the same.
Therefore blocks of consecutive windows are redrawn, and the two methods' windows together: what is
hard for both cancels.

Source: Künsch, 1989, The jackknife and the bootstrap for general stationary observations; with the
    windows as a circle, Politis & Romano, 1992.
"""

from typing import NamedTuple

import numpy as np

from baselines.trajectory.scoring import Array, Errors
from guided.rng import stream_seed

BLOCK = 20  # windows: as long as a window has steps
RESAMPLES = 2000


class Interval(NamedTuple):
    """A difference of every figure, each (4,), and the interval that holds it: low, ..., high."""

    value: Array
    low: Array
    high: Array


def difference(ours: list[Errors], theirs: list[Errors], confidence: float = 0.95) -> Interval:
    """Return the mean over folds of ours - theirs, in metres.

    Args:
        ours: of every fold.
        theirs: of the same folds and windows.
        confidence: of the interval.

    Raises:
        ValueError: for other windows.
    """
    value, drawn = np.zeros(4), np.zeros((RESAMPLES, 4))
    for fold, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        if mine.counts.shape != other.counts.shape or (mine.counts != other.counts).any():
            raise ValueError(
                f"a difference needs the same windows of both methods, got {len(mine.counts)} and "
                f"{len(other.counts)}; score both on the same"
            )
        gaps = mine.sums - other.sums
        value += gaps.sum(0) / mine.counts.sum(0) / len(ours)
        generator = np.random.default_rng(stream_seed(0, fold))
        for row in drawn:
            index = _redrawn(len(gaps), generator)
            row += gaps[index].sum(0) / mine.counts[index].sum(0) / len(ours)
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return Interval(value, low, high)


def _redrawn(count: int, generator: np.random.Generator) -> np.ndarray:
    """Return indices (count,) of blocks of consecutive windows."""
    block = max(1, min(BLOCK, count // 4))
    starts = generator.integers(0, count, -(-count // block))
    return ((starts[:, None] + np.arange(block)).ravel()[:count]) % count
