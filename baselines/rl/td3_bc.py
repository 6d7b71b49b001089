r"""TD3+BC: the actor-critic TD3, and one term that keeps the actor near the data.

=========  ======================================================================================
critics    :math:`y = r + \gamma (1 - d) \min_i \bar Q_i(s', \bar\pi(s') + \epsilon)`,
           :math:`\epsilon = \mathrm{clip}(N(0, \sigma^2), \pm c)`; squared error of each to y
actor      :math:`\max_\pi\; \lambda Q_1(s, \pi(s)) - \|\pi(s) - a\|^2 / A`,
           :math:`\lambda = \alpha / \mathrm{mean} |Q_1(s, \pi(s))|`, every second step
=========  ======================================================================================

Bars are slow copies. States have mean 0 and deviation 1; actions are in [-1, 1].

Source: Fujimoto & Gu, 2021, A Minimalist Approach to Offline Reinforcement Learning, eq. 3-5,
https://arxiv.org/abs/2106.06860; TD3: Fujimoto, van Hoof & Meger, 2018, algorithm 1.
Differs: both critics are trained at once with the actor by one optimiser, and slow copies move at
the start of the next step; see ``transitions.short`` for the learning rate.
"""

from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from baselines.rl.nets import TanhActor, check_hidden, follow, held, slow_copy
from baselines.rl.policy import NetPolicy
from baselines.rl.transitions import Bootstrap, Transitions, fit, short
from domains.rl.data.offline import OfflineData
from domains.rl.train import Progress
from guided.nets.stacked import StackedMLP
from guided.rng import Rng, initial_weights, stream_seed
from guided.train import TrainConfig


@dataclass(frozen=True)
class TD3BCConfig:
    """How to train; the numbers are the paper's, but for sizes and lengths."""

    alpha: float = 2.5
    """Weight of Q against imitation."""
    delay: int = 2
    """Critic steps for one of the actor and of the slow copies."""
    noise: float = 0.2
    """Deviation of the noise on the target's actions."""
    noise_clip: float = 0.5
    """Its bound."""
    tau: float = 0.005
    """Share of the new weights that slow copies take."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers, of actor and critics."""
    bootstrap: Bootstrap = field(default_factory=Bootstrap)
    """The targets of the critics."""
    loop: TrainConfig = field(default_factory=lambda: short(10_000))
    """The optimisation."""
    seed: int = 0
    """Of the initial weights."""

    def __post_init__(self) -> None:
        if self.delay < 1 or not 0 < self.tau <= 1:
            raise ValueError(
                f"TD3+BC needs delay >= 1 and tau in (0, 1], got {self.delay} and {self.tau}"
            )
        if min(self.alpha, self.noise, self.noise_clip) < 0:
            raise ValueError(
                f"TD3+BC needs alpha, noise and noise_clip of at least 0, got {self.alpha}, "
                f"{self.noise} and {self.noise_clip}"
            )
        check_hidden(self.hidden)


class TD3BC(nn.Module):
    """Actor, twin critics, and the slow copies of both."""

    def __init__(self, states: int, actions: int, config: TD3BCConfig) -> None:
        super().__init__()
        self.config = config
        self.actor = TanhActor(states, actions, config.hidden)
        self.q = StackedMLP(2, states, actions, config.hidden)
        self.slow_actor, self.slow_q = slow_copy(self.actor), slow_copy(self.q)

    def loss(self, actions: Tensor, batch: Any, rng: Rng) -> Tensor:
        """Return the loss of every transition, (B,): the critics', and in turn the actor's."""
        critic = self.critic_loss(actions, batch, rng)
        if batch["step"] % self.config.delay:
            return critic
        follow(self.slow_actor, self.actor, self.config.tau)
        follow(self.slow_q, self.q, self.config.tau)
        return critic + self.actor_loss(actions, batch)

    def critic_loss(self, actions: Tensor, batch: Any, rng: Rng) -> Tensor:
        """Return the squared errors of both critics, (B,)."""
        c = self.config
        with torch.no_grad():
            noise = (c.noise * rng.normal(actions.shape)).clamp(-c.noise_clip, c.noise_clip)
            after = (self.slow_actor(batch["reached"]) + noise).clamp(-1, 1)
            future = self.slow_q(batch["reached"], after).amin(0)
            target = batch["reward"] + batch["discount"] * future
        return (self.q(batch["state"], actions) - target).square().sum(0)

    def actor_loss(self, actions: Tensor, batch: Any) -> Tensor:
        """Return -lambda Q_1 and the distance to the data, (B,); the critics get no gradient."""
        chosen = self.actor(batch["state"])
        q = held(self.q, batch["state"], chosen)[0]
        scale = self.config.alpha / q.detach().abs().mean().clamp(min=1e-6)
        return (chosen - actions).square().mean(1) - scale * q


def train(
    data: OfflineData, config: TD3BCConfig, folder: Path | None = None
) -> Generator[Progress, None, NetPolicy]:
    """Train, and return a policy; there is nothing to set after training."""
    transitions = Transitions(data, config.bootstrap)
    with initial_weights(stream_seed(config.seed)):
        model = TD3BC(*transitions.sizes, config)
    yield from fit("td3_bc", model, transitions, config.loop, folder)
    return NetPolicy(lambda s, _, __: model.actor(s), data, 0.0, transitions.normaliser)
