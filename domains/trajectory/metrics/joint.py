"""Joint errors of one scene: agents are averaged inside a world before worlds are compared.

Conventions: K worlds, P people (agents with at least one step to compare with), metres.
ADE_kp and FDE_kp are the mean and the last distance of person p in world k.

    JADE = min_k mean_p ADE_kp        one world has to be right about everybody
    ADE  = mean_p min_k ADE_kp        every person may choose a world (marginal, best of K)
    meanJADE = mean_k mean_p ADE_kp   the usual world, not the best one

and so for the FDE. Minima of ADE and FDE are independent: two worlds may attain them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from domains.trajectory.metrics.displacement import average_errors, final_errors
from domains.trajectory.metrics.inputs import Array


@dataclass(frozen=True)
class JointErrors:
    """Errors of one scene, and what is made of them.

    Args:
        ade: (K, P), mean distance over the steps at which a person was seen.
        fde: (K, P), distance at the last of them.
    """

    ade: Array
    fde: Array

    @property
    def jade(self) -> Array:
        """Return the mean ADE of each world, (K,)."""
        return self.ade.mean(1)

    @property
    def jfde(self) -> Array:
        """Return the mean FDE of each world, (K,)."""
        return self.fde.mean(1)

    @property
    def min_jade(self) -> float:
        """Return the least JADE of the worlds."""
        return float(self.jade.min())

    @property
    def min_jfde(self) -> float:
        """Return the least JFDE of the worlds."""
        return float(self.jfde.min())

    @property
    def mean_jade(self) -> float:
        """Return the mean JADE of the worlds."""
        return float(self.jade.mean())

    @property
    def mean_jfde(self) -> float:
        """Return the mean JFDE of the worlds."""
        return float(self.jfde.mean())

    @property
    def min_ade(self) -> float:
        """Return the mean over people of each person's least ADE."""
        return float(self.ade.min(0).mean())

    @property
    def min_fde(self) -> float:
        """Return the mean over people of each person's least FDE."""
        return float(self.fde.min(0).mean())


def joint_errors(worlds: ArrayLike, truth: ArrayLike) -> JointErrors:
    """Return the errors of one scene over the people who were seen.

    Args:
        worlds: (K, N, F, 2) metres.
        truth: (N, F, 2) metres, NaN at steps that do not count; an agent that is NaN throughout
            is left out.

    Raises:
        ValueError: for shapes that do not fit, broken numbers, or nobody seen.

    Source:
        Weng, Hoshino, Ramanan, Kitani, 2023, Joint Metrics Matter: A Better Standard for
        Trajectory Forecasting. Steps that were not seen are left out as in Wang et al., 2024,
        Optimizing Diffusion Models for Joint Trajectory Prediction and Controllable Generation.
    """
    ade, fde = average_errors(worlds, truth), final_errors(worlds, truth)
    people = ~np.isnan(ade[0])
    return JointErrors(ade[:, people], fde[:, people])
