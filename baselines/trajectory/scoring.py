"""Forecasts of test windows, scored as everywhere: by who is scored, and what they did."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from domains.trajectory.forecast import Forecast
from domains.trajectory.metrics.joint import joint_errors
from domains.trajectory.metrics.windows import WindowScores, WindowSummary
from domains.trajectory.truth import scored_places

Array = NDArray[np.float64]
FIGURES = ("ade", "fde", "jade", "jfde")


class Errors(NamedTuple):
    """Best-of-K errors of W windows, metres.

    Args:
        sums: (W, 4), the :data:`FIGURES` of each window: ADE and FDE summed over its people.
        counts: (W, 4), what each is divided by in a mean: people, people, 1, 1.
    """

    sums: Array
    counts: Array

    def means(self) -> Array:
        """Return the :data:`FIGURES` of all windows together, (4,)."""
        return self.sums.sum(0) / self.counts.sum(0)


def of_scored(forecast: Forecast) -> tuple[Array, Array]:
    """Return worlds (K, N, F, 2) and truth (N, F, 2) of those who are scored.

    Raises:
        ValueError: for a scene in which nobody is.
    """
    truth = forecast.truth()
    scored = scored_places(forecast.scene, forecast.agents, truth)
    return forecast.worlds[:, scored], truth[scored]


def summary(forecasts: Iterable[Forecast]) -> WindowSummary:
    """Return the figures of windows."""
    scores = WindowScores()
    for forecast in forecasts:
        scores.add(*of_scored(forecast))
    return scores.summary()


def errors(forecasts: Iterable[tuple[int, Forecast]]) -> Errors:
    """Return the errors of windows, given with their indices, in the order of these."""
    sums: dict[int, tuple[float, ...]] = {}
    people: dict[int, int] = {}
    for i, forecast in forecasts:
        found = joint_errors(*of_scored(forecast))
        count = people[i] = found.ade.shape[1]
        own = (found.min_ade * count, found.min_fde * count)
        sums[i] = (*own, found.min_jade, found.min_jfde)
    order = sorted(sums)
    counts = [(people[i], people[i], 1, 1) for i in order]
    return Errors(np.array([sums[i] for i in order]), np.array(counts, dtype=float))


def mean(each: list[Errors]) -> Errors:
    """Return the mean of errors on the same windows, such as of several seeds."""
    return Errors(np.mean([one.sums for one in each], axis=0), each[0].counts)
