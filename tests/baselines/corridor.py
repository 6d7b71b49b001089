"""A corridor in which the safe choice is known, and what tests of baselines do in it."""

import numpy as np
import torch

from domains.rl.data.offline import OfflineData
from guided.nets.stacked import StackedMLP
from guided.rng import Rng

SAFE, RISKY = -0.5, 0.5  # the two actions of the corridor; one leads to where it is dangerous


def corridor(episodes: int = 400, length: int = 4, gain: float = 3.0) -> OfflineData:
    """Episodes that begin in safety; after a RISKY action the rest of one is in danger.

    A step in safety has a reward of 1, one into or in danger one of 1 + gain and a cost of 1. Half
    of the episodes stay safe. States are (whether in danger, noise).
    """
    rng = np.random.default_rng(0)
    risky = rng.random((episodes, length)) < 0.5 * (np.arange(episodes) % 2)[:, None]
    actions = np.where(risky, RISKY, SAFE) + 0.1 * rng.standard_normal(risky.shape)
    danger = np.maximum.accumulate(risky, 1).astype(float)
    states = rng.standard_normal((episodes, length + 1, 2))
    states[..., 0] = np.pad(danger, ((0, 0), (1, 0)))
    ends = np.arange(risky.size) % length == length - 1
    return OfflineData(
        states=torch.from_numpy(states.reshape(-1, 2)).float(),
        actions=torch.from_numpy(actions.reshape(-1, 1)).float(),
        rewards=torch.from_numpy(1 + gain * danger.ravel()).float(),
        terminals=torch.zeros(risky.size, dtype=torch.bool),
        timeouts=torch.from_numpy(ends),
        starts=torch.arange(0, risky.size + 1, length),
        low=torch.tensor([-1.0]),
        high=torch.tensor([1.0]),
        name="corridor",
        costs=torch.from_numpy(danger.ravel()).float(),
    )


def constant(net: StackedMLP, *values: float) -> None:
    """Make every network of a stack a constant."""
    with torch.no_grad():
        for weight in net.parameters():
            weight.zero_()
        net.layers[-1].bias.copy_(torch.tensor(values)[:, None, None])


def finished(generator):
    """Run a generator to its end; return what it returns."""
    while True:
        try:
            next(generator)
        except StopIteration as end:
            return end.value


def acted(policy, count=100) -> np.ndarray:
    """Actions in states of safety."""
    obs = np.random.default_rng(1).standard_normal((count, 2)).astype(np.float32)
    obs[:, 0] = 0
    return policy.act(obs, rng=Rng.per_sample(0, count))


def batch(discount=(0.9, 0.9, 0.0)) -> dict:
    return {
        "state": torch.zeros(3, 2),
        "reached": torch.zeros(3, 2),
        "reward": torch.tensor([1.0, 2.0, 3.0]),
        "cost": torch.tensor([0.0, 1.0, 1.0]),
        "discount": torch.tensor(discount),
        "step": 0,
    }
