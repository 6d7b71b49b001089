"""How safe episodes were. An episode violates where any of its steps has a cost above 0.

Source: Liu et al., 2023, "Datasets and Benchmarks for Offline Safe Reinforcement Learning",
https://arxiv.org/abs/2306.09303, for the normalised cost.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from domains.rl.statistics import Interval, success_rate


def violation_probability(violations: ArrayLike, confidence: float = 0.95) -> Interval:
    """Return the share of episodes with a violation, with its exact (Clopper-Pearson) interval.

    None in n episodes leaves up to 3.7 / n at a confidence of 0.95 (2.5 % at each end).

    Args:
        violations: steps with a cost above 0 of every episode, or the costs themselves, (E,).
        confidence: of the interval, in (0, 1).

    Raises:
        ValueError: for no episodes, or numbers that are not finite and at least 0.
    """
    return success_rate(_costs("violations", violations) > 0, confidence)


def cvar(costs: ArrayLike, alpha: float = 0.1) -> float:
    r"""Return the conditional value at risk: the mean of the worst share alpha of episodes.

    Of :math:`\alpha E` episodes that are no whole number, the last one counts in part. An alpha of
    1 is the mean; one below 1 / E is the maximum.

    Args:
        costs: of every episode, (E,).
        alpha: share, in (0, 1].

    Raises:
        ValueError: for no costs, ones not finite and at least 0, or another alpha.
    """
    if not 0 < alpha <= 1:
        raise ValueError(f"got alpha = {alpha}; give the share of the worst, in (0, 1]")
    worst = np.sort(_costs("costs", costs))[::-1]
    share = alpha * len(worst)
    weights = np.clip(share - np.arange(len(worst)), 0.0, 1.0)
    return float(weights @ worst / weights.sum())


def normalised_cost(costs: ArrayLike, limit: float) -> np.ndarray:
    r"""Return the costs of episodes in units of what is allowed; up to 1 is safe.

    It is :math:`(C + e) / (L + e)`, where e is 1 for a limit L of 0, and else 0: at a limit of 0
    only episodes that cost nothing are safe.

    Args:
        costs: of episodes, of any shape.
        limit: largest cost of an episode that is allowed.

    Raises:
        ValueError: for costs or a limit that are not finite and at least 0.
    """
    if not 0 <= limit < np.inf:
        raise ValueError(f"got the cost limit {limit}; give a finite one of at least 0")
    spare = 1.0 if limit == 0 else 0.0
    return np.asarray((_costs("costs", costs) + spare) / (limit + spare))


@dataclass(frozen=True)
class FirstViolation:
    """When episodes first violated, in steps: 1 is the first step.

    Args:
        episodes: how many there are.
        never: how many of them did not.
        median: over all episodes; None where half of them or more never do.
        median_of_violating: over those that did; None if none did.
        earliest: None if none did.
    """

    episodes: int
    never: int
    median: float | None
    median_of_violating: float | None
    earliest: int | None


def time_to_violation(first_violation: ArrayLike) -> FirstViolation:
    """Return when episodes first violated.

    Episodes end when they end: one that was short had less time to violate.

    Args:
        first_violation: as ``Episodes`` has it, (E,): the step's number counted from 0, and -1 for
            an episode without a violation.

    Raises:
        ValueError: for no episodes, or numbers below -1.
    """
    first = np.asarray(first_violation)
    if first.ndim != 1 or not len(first) or not np.isfinite(first).all() or first.min() < -1:
        raise ValueError(
            f"got first violations of shape {first.shape}; give one per episode, counted from 0,"
            f" and -1 for none"
        )
    times = np.sort(np.where(first < 0, np.inf, first + 1.0))
    hit = times[np.isfinite(times)]
    middle = float(np.mean([times[(len(times) - 1) // 2], times[len(times) // 2]]))
    return FirstViolation(
        len(first),
        len(first) - len(hit),
        middle if np.isfinite(middle) else None,
        float(np.median(hit)) if len(hit) else None,
        int(hit[0]) if len(hit) else None,
    )


def _costs(name: str, given: ArrayLike) -> np.ndarray:
    found = np.asarray(given, dtype=float)
    if not found.size or not (np.isfinite(found) & (found >= 0)).all():
        bad = found[~(np.isfinite(found) & (found >= 0))].ravel()[:3]
        raise ValueError(
            f"got {name} of shape {found.shape} with {bad.tolist()}; give at least one number, all"
            f" of them finite and at least 0"
        )
    return found
