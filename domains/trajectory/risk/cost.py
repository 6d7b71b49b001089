"""The risk of contact as an energy of sampled futures, with a gradient on both sides of contact."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from guided.energy import Energy

APART = 1e-6  # metres within which two centres have no direction


class RiskCost(Energy):
    r"""Keeps one agent clear of the others when its position is uncertain.

    With d the way from an other agent to ego at step f, n = d / |d|, and the covariance
    :math:`S_f` of d, a contact is within radius r, which lies in the half-plane
    :math:`n \cdot (d + \xi) \le r`. So

    .. math:: P(\text{contact}) \le \Phi\Big(\frac{r - |d|}{\sqrt{n^T S_f n}}\Big), \qquad
              E = -\sum_{f, j} \log\Big(1 - \Phi\Big(\frac{r - |d_{fj}|}
              {\sqrt{n^T S_f n}}\Big)\Big),

    and exp(-E) is the product of the chances to be clear. Inside an obstacle the energy grows with
    the square of the depth, so that its gradient does not fade there; only where both centres are
    the same is it 0, for there is no direction.

    Args:
        covariances: :math:`S_f`, (F, 2, 2), square metres, positive definite; as
            :meth:`domains.trajectory.risk.reach.Reached.covariances` gives them for one plan, plus
            those of the others' predictions where they are known.
        radius: r, metres between centres.
        ego: the agent's index.
        others: indices of the agents to keep clear of; None is all but ego.

    Raises:
        ValueError: for covariances of another shape or not positive definite, a radius that is not
            positive, or ego among the others.

    Source: Zhu and Alonso-Mora 2019, Chance-constrained collision avoidance for MAVs in dynamic
    environments (the bound by a half-plane).
    """

    def __init__(
        self,
        covariances: ArrayLike,
        radius: float,
        ego: int = 0,
        others: Sequence[int] | None = None,
    ) -> None:
        covs = np.asarray(covariances, dtype=float)
        if covs.ndim != 3 or covs.shape[1:] != (2, 2) or not len(covs):
            raise ValueError(f"covariances need shape (F, 2, 2), got {covs.shape}")
        if not (np.allclose(covs, covs.mT) and np.linalg.eigvalsh(covs).min() > 0):
            raise ValueError(
                "covariances need to be symmetric and positive definite; add some variance"
            )
        if not radius > 0:
            raise ValueError(f"a radius is a positive distance in metres, got {radius}")
        if others is not None and ego in others:
            raise ValueError(f"agent {ego} cannot keep clear of itself; leave it out of others")
        self.covariances, self.radius = torch.from_numpy(covs), radius
        self.ego, self.others = ego, others

    def __call__(self, x0: Tensor, cond: Any = None) -> Tensor:
        """Return the energy of futures (R, A, F, 2), shape (R,)."""
        return -torch.special.log_ndtr(self._clearance(x0)).flatten(1).sum(1)

    def probabilities(self, x0: Tensor) -> Tensor:
        """Return the bound of each contact's probability, (R, N, F) for N others."""
        return torch.special.ndtr(-self._clearance(x0))

    def _clearance(self, x0: Tensor) -> Tensor:
        """Return the room between ego and the others in standard deviations, (R, N, F)."""
        self._require_shape(x0)
        others = self.others
        if others is None:
            others = [a for a in range(x0.shape[1]) if a != self.ego % x0.shape[1]]
        way = x0[:, self.ego, None] - x0[:, list(others)]
        gap = way.square().sum(-1).clamp(min=APART**2).sqrt()
        spread = torch.einsum("rnfi,fij,rnfj->rnf", way, self.covariances.to(x0), way)
        floor = APART**2 * self.covariances.diagonal(dim1=1, dim2=2).amin(1).to(x0)
        return (gap - self.radius) * gap / torch.maximum(spread, floor).sqrt()

    def _require_shape(self, x0: Tensor) -> None:
        steps = len(self.covariances)
        if x0.ndim != 4 or x0.shape[2:] != (steps, 2):
            raise ValueError(
                f"futures need shape (R, A, {steps}, 2), the covariances' steps, got "
                f"{tuple(x0.shape)}"
            )
