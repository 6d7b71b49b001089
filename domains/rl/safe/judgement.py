r"""How far a learned judgement of safety can be trusted.

Conventions:
    A score of a state grows with its danger, such as a feasible value :math:`V_h`: "safe" is called
    where it is low.

Source: Vovk, Gammerman, Shafer, 2005, "Algorithmic Learning in a Random World", for split conformal
prediction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor

import numpy as np
from numpy.typing import ArrayLike

from domains.rl.statistics import Interval, success_rate


@dataclass(frozen=True)
class FalseSafe:
    """How often "safe" is said of what is not.

    Args:
        of_unsafe: the share of the unsafe states that are called safe; None if none is unsafe.
        of_called_safe: the share of the states called safe that are unsafe; None if none is.
    """

    of_unsafe: Interval | None
    of_called_safe: Interval | None


def false_safe(called_safe: ArrayLike, unsafe: ArrayLike, confidence: float = 0.95) -> FalseSafe:
    """Return both rates of false calls, with exact intervals.

    Args:
        called_safe: whether each state was called safe, (N,), boolean.
        unsafe: whether it truly is unsafe, (N,), boolean.
        confidence: of the intervals, which take states as independent.

    Raises:
        ValueError: for arrays of other shapes or kinds.
    """
    called, truly = _flags(called_safe, unsafe)
    wrong = called & truly
    return FalseSafe(
        success_rate(wrong[truly], confidence) if truly.any() else None,
        success_rate(wrong[called], confidence) if called.any() else None,
    )


def infeasible_iou(predicted: ArrayLike, truth: ArrayLike) -> float:
    """Return the intersection over union of two sets of infeasible states; 1 if both are empty.

    It is the infeasible set that tells: where most states are feasible, every guess overlaps there.

    Args:
        predicted: whether each state is in the first set, boolean.
        truth: whether it is in the second, of the same shape.

    Raises:
        ValueError: for arrays of other shapes or kinds.
    """
    one, other = _flags(predicted, truth)
    union = int((one | other).sum())
    return 1.0 if not union else int((one & other).sum()) / union


@dataclass(frozen=True)
class MarginBin:
    """What came of states whose predicted margins are alike.

    Args:
        low: smallest predicted margin in it.
        high: largest one.
        mean: of the predicted margins.
        count: states.
        violated: the share that violated, with the exact interval.
    """

    low: float
    high: float
    mean: float
    count: int
    violated: Interval


def calibration_by_margin(
    margins: ArrayLike,
    violated: ArrayLike,
    bins: int | Sequence[float] = 10,
    confidence: float = 0.95,
) -> list[MarginBin]:
    """Return how often states violated, by their predicted margin, the smallest first.

    Args:
        margins: predicted, (N,).
        violated: what was then observed, (N,), boolean.
        bins: how many, of equally many states (equal margins share a bin, so that there may be
            fewer); or increasing inner edges, each of which begins a bin. Empty bins are left out.
        confidence: of the intervals.

    Raises:
        ValueError: for no states, margins that are not finite, or bins that are none.
    """
    values, flags = np.asarray(margins, dtype=float), np.asarray(violated)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"got margins of shape {values.shape}; give finite ones, (N,), N >= 1")
    (flags,) = _flags(flags)
    if flags.shape != values.shape:
        raise ValueError(f"got {len(values)} margins and {flags.size} outcomes; give as many")
    place = np.searchsorted(_edges(values, bins), values, side="right")
    found = []
    for number in np.unique(place):
        own = values[place == number]
        rate = success_rate(flags[place == number], confidence)
        found.append(
            MarginBin(float(own.min()), float(own.max()), float(own.mean()), len(own), rate)
        )
    return found


def conformal_threshold(scores_of_unsafe: ArrayLike, alpha: float) -> float:
    r"""Return the threshold below which states may be called safe, by split conformal prediction.

    Calling a state safe where its score is **below** the threshold is wrong of at most a share
    alpha of unsafe states, on average over draws of the calibration states: with n of them it is
    the :math:`\lfloor \alpha (n + 1) \rfloor`-th smallest of their scores. (A ``Shield`` admits
    scores up to and including its threshold: give it ``np.nextafter(delta, -np.inf)``.)

    This holds for a further unsafe state that is exchangeable with these: drawn alike, and unseen
    in training. It does not hold for the states that a policy goes to because of their scores, nor
    for the least score of several candidates.

    Args:
        scores_of_unsafe: of n states that are truly unsafe, (n,); larger = called more unsafe.
        alpha: share of false "safe", in (0, 1).

    Raises:
        ValueError: for an alpha outside of (0, 1), NaN, or fewer states than alpha needs.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"got alpha = {alpha}; give the share of false calls, in (0, 1)")
    scores = np.asarray(scores_of_unsafe, dtype=float)
    if scores.ndim != 1 or np.isnan(scores).any():
        raise ValueError(
            f"got scores of shape {scores.shape}, {int(np.isnan(scores).sum())} of them NaN; give"
            f" one number per unsafe state"
        )
    exact = Fraction(repr(float(alpha)))  # as written: 0.1 of 30 are 3, whatever the rounding
    least = ceil(1 / exact) - 1
    if len(scores) < least:
        raise ValueError(
            f"got {len(scores)} unsafe states for alpha = {alpha}; give at least {least}, or a"
            f" larger alpha"
        )
    return float(np.sort(scores)[floor(exact * (len(scores) + 1)) - 1])


def _edges(values: np.ndarray, bins: int | Sequence[float]) -> np.ndarray:
    """Return the inner edges of bins."""
    if isinstance(bins, int):
        if bins < 1:
            raise ValueError(f"got {bins} bins; give at least 1, or the edges between them")
        starts = np.arange(1, bins) * len(values) // bins
        return np.unique(np.sort(values)[starts])
    edges = np.asarray(bins, dtype=float)
    if edges.ndim != 1 or not np.isfinite(edges).all() or (np.diff(edges) <= 0).any():
        raise ValueError(f"got the edges {list(bins)}; give finite ones that increase")
    return edges


def _flags(*given: ArrayLike) -> list[np.ndarray]:
    found = [np.asarray(flags) for flags in given]
    if any(flags.dtype != bool or flags.shape != found[0].shape for flags in found):
        said = " and ".join(f"{flags.dtype} {flags.shape}" for flags in found)
        raise ValueError(f"got {said}; give booleans of one shape, such as value > 0")
    return found
