"""What episodes cost, kept while many of them are being played.

Environments tell it in their infos: ``cost`` of a step, above 0 where a constraint was violated,
and ``margin``, the signed margin h of the state that was reached, positive where it violates one.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

NEVER = -1  # first violation of an episode without one


class Told(NamedTuple):
    """What environments told of N rows, (N,); NaN where one was silent, None where all were.

    Args:
        costs: of the step.
        margins: of the state that was reached.
    """

    costs: np.ndarray | None = None
    margins: np.ndarray | None = None


def told(info: Mapping[str, Any], rows: np.ndarray) -> Told:
    """Return what the infos of a vector environment tell of some of its rows.

    Raises:
        ValueError: for a number that is not finite.
    """
    return Told(_numbers(info, "cost", rows), _numbers(info, "margin", rows))


def _numbers(info: Mapping[str, Any], name: str, rows: np.ndarray) -> np.ndarray | None:
    if name not in info:
        return None
    values, given = info[name][rows], info[f"_{name}"][rows]
    bad = values[given & ~np.isfinite(values)]
    if len(bad):
        raise ValueError(
            f"the environment told a {name} of {bad[0]}; it must be finite, so look at how the"
            f" environment computes it"
        )
    return np.where(given, values, np.nan) if given.any() else None


class CostBook:
    """Costs and margins of episodes that begin and end at different times.

    Args:
        episodes: how many there will be.
    """

    def __init__(self, episodes: int) -> None:
        self.costs = np.zeros(episodes)
        self.violations = np.zeros(episodes, dtype=np.int64)
        self.first = np.full(episodes, NEVER)
        self.worst = np.full(episodes, np.nan)
        self.tells_costs = self.tells_margins = False

    def note(self, which: np.ndarray, said: Told, step: np.ndarray) -> None:
        """Note what was told of some episodes, one row each.

        Args:
            which: the episodes.
            said: of each of them.
            step: its number, counted from 0; of a start, which costs nothing, any number.
        """
        if said.margins is not None:
            self.tells_margins = True
            self.worst[which] = np.fmax(self.worst[which], said.margins)
        if said.costs is None:
            return
        self.tells_costs = True
        costs = np.nan_to_num(said.costs)
        self.costs[which] += costs
        violated = costs > 0
        self.violations[which] += violated
        begins = violated & (self.first[which] == NEVER)
        self.first[which[begins]] = step[begins]

    def results(self, index: np.ndarray) -> dict[str, np.ndarray | None]:
        """Return the fields of ``Episodes`` for some episodes."""
        costs: dict[str, np.ndarray] = {
            "costs": self.costs,
            "violations": self.violations,
            "first_violation": self.first,
        }
        found: dict[str, np.ndarray | None] = {
            name: values[index] if self.tells_costs else None for name, values in costs.items()
        }
        return {**found, "worst_margin": self.worst[index] if self.tells_margins else None}
