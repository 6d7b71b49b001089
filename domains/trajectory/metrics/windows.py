"""Scores of many windows, as the benchmarks of pedestrians report them.

ADE and FDE (marginal, best of K) are averaged over people, JADE, JFDE and the collision rates over
windows: a window of forty people weighs forty in the one and one in the other. So the counts of
windows and people belong to every figure.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from domains.trajectory.metrics.collision import RADIUS, collision_rates
from domains.trajectory.metrics.inputs import Array
from domains.trajectory.metrics.joint import joint_errors


@dataclass(frozen=True)
class WindowSummary:
    """Figures of a set of windows; metres, and shares from 0 to 1.

    Args:
        windows: how many there were.
        people: how many were scored in them, counted once in each window.
        worlds: K, of every window.
        ade: least ADE of a person, averaged over people.
        fde: least FDE of a person, averaged over people.
        jade: least JADE of a window, averaged over windows.
        jfde: least JFDE of a window, averaged over windows.
        mean_ade: mean ADE over worlds, averaged over people.
        mean_fde: mean FDE over worlds, averaged over people.
        mean_jade: mean JADE over worlds, averaged over windows.
        mean_jfde: mean JFDE over worlds, averaged over windows.
        cr_mean: mean collision rate over worlds, averaged over windows.
        cr_jade: collision rate of the world with the least JADE, averaged over windows.
    """

    windows: int
    people: int
    worlds: int
    ade: float
    fde: float
    jade: float
    jfde: float
    mean_ade: float
    mean_fde: float
    mean_jade: float
    mean_jfde: float
    cr_mean: float
    cr_jade: float


class WindowScores:
    """Collects windows, one at a time.

    Args:
        radius: of a person, metres, for collisions.

    Source:
        Weng, Hoshino, Ramanan, Kitani, 2023, Joint Metrics Matter: A Better Standard for
        Trajectory Forecasting, and its code.
    """

    def __init__(self, radius: float = RADIUS) -> None:
        self.radius = radius
        self._worlds = 0
        self._people: list[Array] = []
        self._windows: list[Array] = []

    def add(self, worlds: ArrayLike, truth: ArrayLike) -> None:
        """Add one window.

        Args:
            worlds: (K, N, F, 2) metres.
            truth: (N, F, 2) metres, NaN where a person was not seen; one who never was is not
                scored, but may be hit.

        Raises:
            ValueError: for shapes that do not fit, broken numbers, nobody seen, or another K than
                in the windows before.
        """
        errors = joint_errors(worlds, truth)
        count = len(errors.ade)
        if self._windows and count != self._worlds:
            raise ValueError(
                f"this window has {count} worlds and those before {self._worlds}, so their best "
                f"cannot be compared; predict equally many"
            )
        rates = collision_rates(worlds, self.radius)
        ade, fde, jade, jfde = errors.ade, errors.fde, errors.jade, errors.jfde
        self._worlds = count
        self._people.append(np.stack([ade.min(0), fde.min(0), ade.mean(0), fde.mean(0)]))
        minima, means = (jade.min(), jfde.min()), (jade.mean(), jfde.mean())
        self._windows.append(np.array([*minima, *means, rates.mean(), rates[jade.argmin()]]))

    def summary(self) -> WindowSummary:
        """Return the figures of all windows so far.

        Raises:
            ValueError: before the first window.
        """
        if not self._windows:
            raise ValueError("no window was added, so there is no mean; add at least one")
        people = np.concatenate(self._people, axis=1)
        ade, fde, mean_ade, mean_fde = (float(v) for v in people.mean(1))
        rows = np.stack(self._windows)
        jade, jfde, mean_jade, mean_jfde, cr_mean, cr_jade = (float(v) for v in rows.mean(0))
        return WindowSummary(
            windows=len(rows),
            people=people.shape[1],
            worlds=self._worlds,
            ade=ade,
            fde=fde,
            jade=jade,
            jfde=jfde,
            mean_ade=mean_ade,
            mean_fde=mean_fde,
            mean_jade=mean_jade,
            mean_jfde=mean_jfde,
            cr_mean=cr_mean,
            cr_jade=cr_jade,
        )
