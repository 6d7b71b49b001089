r"""The target of a bandit, by importance resampling of many draws of q."""

import torch
from torch import Tensor

from domains.rl.bandits.sets import Logged
from guided.rng import Rng


def weights(reward: Tensor, beta: float) -> Tensor:
    r"""Return the normalised weights :math:`e^{\beta r_i} / \sum_j e^{\beta r_j}`, (N,), double."""
    return torch.softmax(beta * reward.double(), 0)


def effective_size(reward: Tensor, beta: float) -> float:
    """Return how many equally weighted draws the weighted ones are worth."""
    return float(1 / weights(reward, beta).square().sum())


def resampled(pool: Logged, beta: float, n: int, rng: Rng) -> Logged:
    """Draw n of the target, with replacement, from a pool of draws of q.

    They are as good as exact while n is small beside :func:`effective_size`.

    Raises:
        ValueError: for a pool that is worth fewer than n draws.
    """
    worth = effective_size(pool.reward, beta)
    if worth < n:
        raise ValueError(
            f"{len(pool.x)} draws of q are worth {worth:.0f} of the target at beta = {beta:g}, "
            f"fewer than the {n} asked for; give a larger pool"
        )
    total = weights(pool.reward, beta).cumsum(0)
    chosen = torch.searchsorted(total, total[-1] * rng.uniform((n,), torch.float64))
    chosen = chosen.clamp(max=len(total) - 1)
    return Logged(pool.x[chosen], pool.reward[chosen])


def log_mean_weight(reward: Tensor, beta: float) -> float:
    r"""Return :math:`\log \frac1N \sum_i e^{\beta r_i}`."""
    scaled = beta * reward.double()
    return float(torch.logsumexp(scaled, 0) - torch.tensor(float(len(scaled))).log())
