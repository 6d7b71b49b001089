"""Episodes spread over costs and returns: the frequent kinds thinned out, the rare ones kept.

Source: Liu, Guo, Lin, Yao, Zhu, Cen, Hu, Yu, Zhang, Tan, Zhao (2023), Datasets and Benchmarks for
Offline Safe Reinforcement Learning, https://arxiv.org/abs/2306.09303: DSRL's density filter, a grid
over (cost, return) with a largest number of episodes per cell.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Spread:
    """A grid over the range of costs and returns, and how many episodes of a bin are kept.

    Args:
        each: most episodes of one bin.
        cost_bins: bins along the cost, of equal width between its extremes.
        return_bins: bins along the return, likewise.

    Raises:
        ValueError: for numbers below one.
    """

    each: int
    cost_bins: int = 10
    return_bins: int = 50

    def __post_init__(self) -> None:
        if min(self.each, self.cost_bins, self.return_bins) < 1:
            raise ValueError(
                f"a spread needs one episode a bin and one bin at least, got {self.each} a bin of "
                f"{self.cost_bins} x {self.return_bins}"
            )

    def keep(self, costs: ArrayLike, returns: ArrayLike, rng: np.random.Generator) -> np.ndarray:
        """Return the indices of the kept episodes, ascending, (K,), int64.

        Every bin keeps all its episodes, or ``each`` of them, drawn without replacement.

        Args:
            costs: of E episodes, (E,).
            returns: theirs, (E,).
            rng: of the draws.

        Raises:
            ValueError: for no episode, other shapes, or numbers that are not finite.
        """
        costs, returns = _pair(costs, returns)
        bins = self._bins(costs, returns)
        shuffled = rng.permutation(len(bins))
        # Stable: within a bin the order stays that of the shuffling.
        order = shuffled[np.argsort(bins[shuffled], kind="stable")]
        _, first, counts = np.unique(bins[order], return_index=True, return_counts=True)
        rank = np.arange(len(bins)) - np.repeat(first, counts)
        return np.sort(order[rank < self.each])

    def coverage(self, costs: ArrayLike, returns: ArrayLike) -> float:
        """Return the share of the grid's bins that hold an episode; arguments as for `keep`."""
        bins = self._bins(*_pair(costs, returns))
        return len(np.unique(bins)) / (self.cost_bins * self.return_bins)

    def describe(self) -> str:
        """Return the rule in words and numbers."""
        return (
            f"at most {self.each} episodes for each of {self.cost_bins} x {self.return_bins} bins "
            f"over (cost, return)"
        )

    def _bins(self, costs: np.ndarray, returns: np.ndarray) -> np.ndarray:
        return _cell(costs, self.cost_bins) * self.return_bins + _cell(returns, self.return_bins)


def report(costs: ArrayLike, returns: ArrayLike) -> dict[str, Any]:
    """Return what a data set for safe control is judged by.

    Args:
        costs: of E episodes, (E,).
        returns: theirs, (E,).

    Returns:
        ``mean_cost``; ``safe``, the share of episodes without any cost; ``return_cost_correlation``
        (Pearson's), None where costs or returns are all alike.

    Raises:
        ValueError: for no episode, other shapes, or numbers that are not finite.
    """
    costs, returns = _pair(costs, returns)
    known = np.ptp(costs) > 0 and np.ptp(returns) > 0
    return {
        "mean_cost": float(costs.mean()),
        "safe": float((costs == 0).mean()),
        "return_cost_correlation": float(np.corrcoef(costs, returns)[0, 1]) if known else None,
    }


def _pair(costs: ArrayLike, returns: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    costs, returns = np.asarray(costs, np.float64), np.asarray(returns, np.float64)
    if costs.ndim != 1 or costs.shape != returns.shape or not len(costs):
        raise ValueError(
            f"got costs of shape {costs.shape} and returns of shape {returns.shape}; give one of "
            f"each for every episode"
        )
    if not (np.isfinite(costs) & np.isfinite(returns)).all():
        raise ValueError("costs and returns of episodes must be finite, got NaN or infinite ones")
    return costs, returns


def _cell(values: np.ndarray, count: int) -> np.ndarray:
    """Return the bin of each value, (E,): equal widths; the largest value is in the last one."""
    low, width = values.min(), np.ptp(values)
    if not width > 0:
        return np.zeros(len(values), dtype=np.int64)
    return np.minimum((values - low) / width * count, count - 1).astype(np.int64)
