"""What is measured on: made-up data of the size of a walker's, and networks of them.

Untrained: what a step costs does not depend on the weights.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from domains.rl.critics.critic import CriticConfig
from domains.rl.data.offline import OfflineData
from domains.rl.train import PolicyTraining, Run
from guided.rng import Rng
from guided.train import TrainConfig

STATES, ACTIONS = 17, 6
SUPPORT = 16  # actions drawn for a state
CALLS = 15  # of the network, for an action


def made_up(
    episodes: int, length: int, seed: int, states: int = STATES, actions: int = ACTIONS
) -> OfflineData:
    """Return episodes of so many transitions each, all cut by a timeout."""
    rng, count = Rng(seed), episodes * length
    last = torch.zeros(count, dtype=torch.bool)
    last[length - 1 :: length] = True
    return OfflineData(
        states=rng.normal((count + episodes, states)),
        actions=2 * rng.uniform((count, actions)) - 1,
        rewards=rng.normal((count,)),
        terminals=torch.zeros_like(last),
        timeouts=last,
        starts=torch.arange(0, count + 1, length),
        low=-torch.ones(actions),
        high=torch.ones(actions),
        name="made-up",
    )


def made_up_support(data: OfflineData, seed: int) -> Tensor:
    """Return scaled actions for every state, (N + E, SUPPORT, A)."""
    return 2 * Rng(seed).uniform((len(data.states), SUPPORT, ACTIONS)) - 1


def untrained(data: OfflineData, folder: Path, seed: int, log_every: int = 1) -> Run:
    """Return a training run at its beginning.

    Its critic learns by the softmax rule from the first step on, its energy contrasts all of the
    support; its loops report every ``log_every`` steps, never end by themselves, and save nothing.
    """
    endless: dict[str, Any] = {"steps": 10**9, "save_every": 10**9, "log_every": log_every}
    config = PolicyTraining(
        critic=CriticConfig(warm_up=0.0), support=SUPPORT, target="self", seed=seed
    )

    def loop(own: TrainConfig) -> TrainConfig:
        return replace(own, seed=seed, **endless)

    config = replace(
        config, critic_loop=loop(config.critic_loop), energy_loop=loop(config.energy_loop)
    )
    return Run(data, config, folder)
