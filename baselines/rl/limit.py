r"""A limit on the cost of an episode, as methods of discounted values can use it.

With L for an episode of H steps and a cost of L / H in each, the discounted sum is

.. math:: l = \frac{L}{H} \cdot \frac{1 - \gamma^H}{1 - \gamma}.

Source: ``osrl/algorithms/cpq.py`` of Liu et al., 2023, https://arxiv.org/abs/2306.09303.
"""

import math
from dataclasses import replace

from baselines.rl.transitions import Bootstrap, Transitions
from domains.rl.data.offline import OfflineData
from domains.rl.safe.train import reward_scale


def check_limit(limit: float) -> None:
    """Raise unless an episode may cost so much.

    Raises:
        ValueError: for a limit below 0 or not finite.
    """
    if not 0 <= limit < math.inf:
        raise ValueError(f"safe baselines need a finite cost_limit >= 0, got {limit}")


def discounted_limit(limit: float, gamma: float, horizon: int) -> float:
    """Return the discounted cost that a limit on an episode of ``horizon`` steps stands for."""
    if gamma == 1:
        return limit
    return limit * (1 - gamma**horizon) / ((1 - gamma) * horizon)


def costed(data: OfflineData, gamma: float) -> Transitions:
    """Return transitions with costs; their rewards are in the unit that FISOR uses.

    Raises:
        ValueError: for data without costs.
    """
    if data.costs is None:
        raise ValueError(
            f"{data.name} has no costs, so that nothing tells what is unsafe; record it with "
            f"infos['cost'], or give a file with costs"
        )
    scaled = replace(data, rewards=data.rewards * reward_scale(data))
    return Transitions(scaled, Bootstrap(gamma))
