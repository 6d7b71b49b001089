r"""Implicit Q-learning: values of the best logged actions, without asking for any other action.

=========  ======================================================================================
value      :math:`\min_V\; |\tau - 1(u < 0)|\, u^2`, :math:`u = \min_i \bar Q_i(s, a) - V(s)`: the
           expectile of Q over the data's actions; tau -> 1 is their maximum
critics    squared error of each to :math:`y = r + \gamma (1 - d) V(s')`
actor      :math:`\max_\pi\; \min(e^{\beta u}, 100) \log \pi(a | s)`: imitation, weighed by u
=========  ======================================================================================

Bars are slow copies. The actor is a normal law with mean tanh f(s) and one deviation for all
states; one acts by its mean.

Source: Kostrikov, Nair & Levine, 2022, Offline Reinforcement Learning with Implicit Q-Learning,
eq. 5-7, https://arxiv.org/abs/2110.06169.
Differs: beta is in units of one over the running deviation of u, since the source scales the
rewards of every task by hand instead; all parts take their step at once, by one optimiser; see
``transitions.short`` for the learning rate.
"""

from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from baselines.rl.nets import GaussianActor, check_hidden, follow, slow_copy
from baselines.rl.policy import NetPolicy, gaussian
from baselines.rl.transitions import Bootstrap, Transitions, fit, short
from domains.rl.data.offline import OfflineData
from domains.rl.train import Progress
from guided.nets.stacked import StackedMLP
from guided.rng import initial_weights, stream_seed
from guided.train import TrainConfig

MOST_WEIGHT = 100.0


@dataclass(frozen=True)
class IQLConfig:
    """How to train."""

    expectile: float = 0.9
    """Expectile of the value: 0.5 is the behaviour's mean, 1 the best action seen."""
    beta: float = 3.0
    """Inverse temperature of the actor's weights; 0 is behaviour cloning."""
    unit: float | None = None
    """What an advantage of 1 is worth: beta is in units of one over it. None is the running
    deviation of advantages; 1 is the source's own, which goes with the scale of the reward."""
    tau: float = 0.005
    """Share of the new weights that the slow critics take in a step."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers, of all networks."""
    bootstrap: Bootstrap = field(default_factory=Bootstrap)
    """The targets of the critics."""
    loop: TrainConfig = field(default_factory=lambda: short(10_000))
    """The optimisation."""
    seed: int = 0
    """Of the initial weights."""

    def __post_init__(self) -> None:
        if not (0.5 <= self.expectile < 1 and 0 < self.tau <= 1):
            raise ValueError(
                f"IQL needs expectile in [0.5, 1) and tau in (0, 1], got {self.expectile} and "
                f"{self.tau}"
            )
        if self.beta < 0 or (self.unit is not None and not self.unit > 0):
            raise ValueError(
                f"IQL needs beta >= 0 and a unit above 0 or None, got {self.beta} and {self.unit}"
            )
        check_hidden(self.hidden)


class IQL(nn.Module):
    """Twin critics with slow copies, a value network, and an actor."""

    spread: Tensor

    def __init__(self, states: int, actions: int, config: IQLConfig) -> None:
        super().__init__()
        self.config = config
        self.actor = GaussianActor(states, actions, config.hidden)
        self.q = StackedMLP(2, states, actions, config.hidden)
        self.slow_q = slow_copy(self.q)
        self.v = StackedMLP(1, states, 0, config.hidden)
        # Running deviation of advantages; nan before the first batch.
        self.register_buffer("spread", torch.tensor(float("nan")))

    def loss(self, actions: Tensor, batch: Any, _: Any = None) -> Tensor:
        """Return the sum of the three losses of every transition, (B,)."""
        follow(self.slow_q, self.q, self.config.tau)
        with torch.no_grad():
            q = self.slow_q(batch["state"], actions).amin(0)
        advantage = q - self.v(batch["state"])[0]
        value, critic = self.value_loss(advantage), self.critic_loss(actions, batch)
        return value + critic + self.actor_loss(actions, batch, advantage.detach())

    def value_loss(self, advantage: Tensor) -> Tensor:
        """Return the expectile loss of advantages (B,), whose gradient moves V alone."""
        weight = (self.config.expectile - (advantage < 0).float()).abs()
        return weight * advantage.square()

    def critic_loss(self, actions: Tensor, batch: Any) -> Tensor:
        """Return the squared errors of both critics, (B,)."""
        with torch.no_grad():
            target = batch["reward"] + batch["discount"] * self.v(batch["reached"])[0]
        return (self.q(batch["state"], actions) - target).square().sum(0)

    def actor_loss(self, actions: Tensor, batch: Any, advantage: Tensor) -> Tensor:
        """Return the weighed -log pi(a | s), (B,), for advantages (B,) without a gradient."""
        now = advantage.std()
        self.spread.copy_(torch.where(self.spread.isnan(), now, self.spread.lerp(now, 0.01)))
        unit = self.config.unit or self.spread.clamp(min=1e-6)
        weight = (self.config.beta / unit * advantage).exp().clamp(max=MOST_WEIGHT)
        return -weight * self.actor.log_prob(batch["state"], actions)


def train(
    data: OfflineData, config: IQLConfig, folder: Path | None = None
) -> Generator[Progress, None, NetPolicy]:
    """Train, and return a policy whose setting is the share of the noise it acts with."""
    transitions = Transitions(data, config.bootstrap)
    with initial_weights(stream_seed(config.seed)):
        model = IQL(*transitions.sizes, config)
    yield from fit("iql", model, transitions, config.loop, folder)
    return NetPolicy(gaussian(model.actor), data, 0.0, transitions.normaliser)
