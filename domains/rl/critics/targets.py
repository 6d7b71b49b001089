r"""n-step targets: :math:`y_i = \sum_{k<m} \gamma^k r_{i+k} + \gamma^m V(s_{i+m})`.

m is n, or fewer where the episode ends before. A terminal has no future, so its V counts 0; an
episode that was cut by a timeout goes on, so V of its last state counts.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from domains.rl.data.offline import OfflineData


@dataclass(frozen=True)
class Targets:
    """What the targets of N transitions are made of.

    Args:
        rewards: the discounted sum of the next rewards, (N,).
        discounts: what V of the state reached counts; 0 after a terminal, (N,).
        reached: index of that state among the data's states, (N,).
    """

    rewards: Tensor
    discounts: Tensor
    reached: Tensor


def targets(data: OfflineData, gamma: float, n: int | None = 1) -> Targets:
    """Return the n-step targets of all transitions.

    Args:
        data: logged episodes.
        gamma: the discount of a step, in (0, 1].
        n: steps until V takes over; None = at the episode's end (Monte Carlo).

    Raises:
        ValueError: for n < 1 or gamma outside (0, 1].
    """
    if not 0 < gamma <= 1 or (n is not None and n < 1):
        raise ValueError(f"targets need 0 < gamma <= 1 and n >= 1, got gamma={gamma}, n={n}")
    length = torch.repeat_interleave(data.lengths, data.lengths)
    first = torch.repeat_interleave(data.starts[:-1], data.lengths)
    left = length - (torch.arange(len(data)) - first)
    m = left if n is None else left.clamp(max=n)
    full = data.returns_to_go(gamma)
    beyond = (torch.arange(len(data)) + m).clamp(max=len(data) - 1)
    sums = full - torch.where(m < left, gamma ** m.double() * full[beyond], 0.0)
    ends = (m == left) & data.terminals[(first + length - 1)]
    discounts = torch.where(ends, 0.0, gamma ** m.double())
    return Targets(sums.float(), discounts.float(), data.at + m)
