"""Chance constraints: how near others may come when nobody knows exactly where they will be."""

from collections.abc import Sequence

import torch
from scipy.stats import norm
from torch import Tensor

from domains.trajectory.costs.cost import ALWAYS, Span, at_least
from domains.trajectory.costs.setting import Setting
from domains.trajectory.costs.spacing import Apart

NOW, GROWTH = 0.3, 0.2  # metres, and metres a second: deviation of the gap between two agents


class Risk(Apart):
    r"""A bound on the probability of contact at every step, for every pair.

    The gap between two agents at t seconds is uncertain with deviation :math:`s_f = 0.3 + 0.2 t`
    metres in every direction, about where they are planned to be. A contact within r lies in a
    half-plane, so that

    .. math:: P(\text{contact at } f) \le \Phi\Big(\frac{r - d_f}{s_f}\Big) \le \delta
              \quad\Leftrightarrow\quad d_f \ge r + \Phi^{-1}(1 - \delta)\, s_f,

    and the cost is that of :class:`~domains.trajectory.costs.spacing.Apart` with a gap that grows.
    Steps and pairs are bounded one by one; the risk of a whole plan is in
    :mod:`domains.trajectory.risk`.

    Args:
        setting: of all agents.
        agents: places of those who keep apart; one alone keeps away from all others.
        limit: delta, above 0 and up to 1/2, where the gap is r.
        radius: r, metres between centres.
        span: when.

    Source: Zhu and Alonso-Mora 2019, Chance-constrained collision avoidance for MAVs in dynamic
        environments (the bound by a half-plane).

    Raises:
        ValueError: for a limit out of its range, and as for ``Apart``.
    """

    def __init__(
        self,
        setting: Setting,
        agents: Sequence[int],
        limit: float,
        radius: float,
        span: Span = ALWAYS,
    ) -> None:
        super().__init__(setting, agents, at_least("distance", radius), span)
        if not 0 < limit <= 0.5:
            raise ValueError(f"a risk is limited to above 0 and up to 0.5, got {limit:g}")
        times = (1 + torch.arange(setting.horizon, dtype=torch.float64)) * setting.dt
        self.wanted = radius + float(norm.isf(limit)) * (NOW + GROWTH * times[self.steps])

    def distance(self, p: Tensor) -> Tensor:
        """Return the distances wanted at each step, (S,)."""
        return self.wanted.to(p)
