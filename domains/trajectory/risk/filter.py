"""A chance constraint on plans: keep those whose risk of contact stays below a limit."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from domains.trajectory.risk.discs import Discs
from domains.trajectory.risk.reach import ReachDensity, Risk


@dataclass(frozen=True)
class Kept:
    """The plans that a limit leaves.

    Args:
        index: (M,) into the plans, in their order; where none passes, the least risky one alone.
        within: whether the plans of ``index`` obey the limit; False where none did.
        risk: of all plans.
        limit: that was asked for.
    """

    index: NDArray[np.int64]
    within: bool
    risk: Risk
    limit: float

    def __str__(self) -> str:
        count, risks = len(self.risk.any), self.risk.any[self.index]
        if not self.within:
            return (
                f"none of {count} plans has a risk of at most {self.limit:g}; the least risky, "
                f"plan {self.index[0]}, has {risks[0]:.3g}"
            )
        return f"{len(risks)} of {count} plans have a risk of at most {self.limit:g}"


def keep_safe(
    plans: ArrayLike,
    dt: float,
    density: ReachDensity,
    obstacles: Discs,
    limit: float = 0.01,
    margin: float = 0.0,
) -> Kept:
    """Return the plans whose estimated risk of contact at any step is at most a limit.

    Args:
        plans: (R, F, 2) metres.
        dt: seconds between steps.
        density: how the agent follows them.
        obstacles: what it must not touch.
        limit: the risk allowed, 0 to 1; 1 keeps all.
        margin: standard errors of the estimate added to each risk before it is compared; 0 adds
            none.

    Raises:
        ValueError: for a limit outside [0, 1] or a margin below 0.
    """
    if not 0 <= limit <= 1 or not margin >= 0:
        raise ValueError(
            f"a chance constraint needs a limit from 0 to 1 and a margin of at least 0, got {limit}"
            f" and {margin}"
        )
    risk = density.risk(plans, dt, obstacles)
    bound = np.minimum(risk.any + margin * risk.any_error, 1.0)
    passed = np.flatnonzero(bound <= limit)
    if len(passed):
        return Kept(passed, True, risk, limit)
    return Kept(np.array([np.argmin(bound)]), False, risk, limit)
