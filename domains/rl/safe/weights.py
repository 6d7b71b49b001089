r"""The three-way weights of weighted regression: earn where it is feasible, escape where it is not.

=====================================  ===========================================================
feasible state, feasible action        :math:`\min(e^{\alpha (Q - V)}, c_r)`
feasible state, infeasible action      0: what leads out of the feasible set is not imitated
infeasible state                       :math:`\min(e^{\eta (V_h - Q_h)}, c_h)`: the safer the better
=====================================  ===========================================================

A state is feasible where :math:`V_h \le 0`, an action where :math:`Q_h \le 0`.

Source: Zheng et al., 2024, FISOR, eq. 13-14, https://arxiv.org/abs/2401.10700, and its code.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class WeightConfig:
    """The strengths of both rules."""

    reward: float = 3.0
    """Inverse temperature of the advantage in reward, alpha."""
    safety: float = 5.0
    """Inverse temperature of the advantage in feasibility, eta."""
    most_reward: float = 100.0
    """Largest weight in feasible states."""
    most_safety: float = 150.0
    """Largest weight in infeasible states."""

    def __post_init__(self) -> None:
        if min(self.reward, self.safety) < 0 or min(self.most_reward, self.most_safety) <= 0:
            raise ValueError(f"weights need temperatures >= 0 and limits > 0, got {self}")


def weights(q: Tensor, v: Tensor, q_h: Tensor, v_h: Tensor, config: WeightConfig) -> Tensor:
    """Return the weight of each transition, (N,), of values (N,) each."""
    earn = (config.reward * (q - v)).exp().clamp(max=config.most_reward)
    escape = (config.safety * (v_h - q_h)).exp().clamp(max=config.most_safety)
    return torch.where(v_h > 0, escape, torch.where(q_h > 0, 0.0, earn))
