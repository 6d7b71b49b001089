r"""CPQ: Q-learning that knows no future beyond an action which costs too much.

=========  ======================================================================================
cost       :math:`y_c = c + \gamma (1 - d)\, \bar Q_c(s', a')`, a' drawn from the policy; squared
           error, and :math:`-\alpha\, E_{\nu}[Q_c(s, a)]` for actions :math:`\nu` unlike the data
multiplier :math:`\alpha \leftarrow \mathrm{clip}(\alpha + \kappa\,(m l - E_\nu[Q_c]), 0,
           \alpha_{max})`: what the data never did is made to cost m l, more than the limit l
reward     :math:`y = r + \gamma (1 - d)\, 1[\bar Q_c(s', a') \le l]\, \bar Q(s', a')`
policy     :math:`\max_\pi\; E\; 1[Q_c(s, a) \le l]\, Q(s, a)`, a drawn from it
=========  ======================================================================================

:math:`\nu` is the quarter of the policy's draws that a variational autoencoder of the data finds
strangest. Both Q are the least of two, and l is the discounted limit of ``limit``.

Source: Xu, Zhan & Zhu, 2022, Constraints Penalized Q-Learning for Safe Offline Reinforcement
Learning, eq. 5-9 and algorithm 1, https://arxiv.org/abs/2107.09003; numbers of
``osrl/algorithms/cpq.py``, Liu et al., 2023, https://arxiv.org/abs/2306.09303.
Differs: the penalty on strange actions has a gradient, which that code cuts off; its mean is over
these actions alone; costs end at terminals; the policy has one deviation for all states; all parts
are trained by one optimiser, see ``transitions.short``.
"""

from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from baselines.rl.limit import check_limit, costed, discounted_limit
from baselines.rl.nets import GaussianActor, check_hidden, follow, held, slow_copy
from baselines.rl.policy import NetPolicy, gaussian
from baselines.rl.transitions import fit, short
from baselines.rl.vae import ActionVAE
from domains.rl.data.offline import OfflineData
from domains.rl.train import Progress
from guided.nets.stacked import StackedMLP
from guided.rng import Rng, initial_weights, stream_seed
from guided.train import TrainConfig


@dataclass(frozen=True)
class CPQConfig:
    """How to train."""

    cost_limit: float = 5.0
    """Largest cost of an episode."""
    gamma: float = 0.99
    """Discount of a step, of rewards and costs."""
    samples: int = 10
    """Actions drawn in a state, of which the strangest are made to cost."""
    outside: float = 0.25
    """Share of them that is."""
    margin: float = 1.5
    """What these are to cost in limits, m."""
    rate: float = 1e-3
    """Of the multiplier, kappa."""
    most: float = 1.0
    """Largest multiplier."""
    beta: float = 0.5
    """Weight of the divergence in the autoencoder's loss."""
    tau: float = 0.005
    """Share of the new weights that slow copies take in a step."""
    hidden: tuple[int, ...] = (128, 128)
    """Widths of the hidden layers of all networks."""
    loop: TrainConfig = field(default_factory=lambda: short(6_000))
    """The optimisation."""
    seed: int = 0
    """Of the initial weights."""

    def __post_init__(self) -> None:
        check_limit(self.cost_limit)
        if not 0 < self.gamma <= 1 or not 0 < self.tau <= 1 or not 0 < self.outside <= 1:
            raise ValueError(
                f"CPQ needs gamma, tau and outside in (0, 1], got {self.gamma}, {self.tau} and "
                f"{self.outside}"
            )
        if self.samples < 1 or min(self.margin, self.rate, self.most, self.beta) < 0:
            raise ValueError(
                f"CPQ needs samples >= 1, and margin, rate, most and beta of at least 0, got "
                f"{self.samples}, {self.margin}, {self.rate}, {self.most} and {self.beta}"
            )
        check_hidden(self.hidden)


class CPQ(nn.Module):
    """Policy, twin critics of reward and of cost with slow copies, autoencoder and multiplier.

    Args:
        states: numbers in a state.
        actions: numbers in an action.
        config: how they learn.
        limit: largest discounted cost, l.
    """

    multiplier: Tensor

    def __init__(self, states: int, actions: int, config: CPQConfig, limit: float) -> None:
        super().__init__()
        self.config, self.limit = config, limit
        self.actor = GaussianActor(states, actions, config.hidden)
        self.vae = ActionVAE(states, actions, config.hidden, config.beta)
        self.q = StackedMLP(2, states, actions, config.hidden)
        self.q_c = StackedMLP(2, states, actions, config.hidden)
        self.slow_q, self.slow_q_c = slow_copy(self.q), slow_copy(self.q_c)
        self.register_buffer("multiplier", torch.zeros(()))

    def loss(self, actions: Tensor, batch: Any, rng: Rng) -> Tensor:
        """Return the sum of all losses of every transition, (B,)."""
        follow(self.slow_q, self.q, self.config.tau)
        follow(self.slow_q_c, self.q_c, self.config.tau)
        own = self.vae.loss(batch["state"], actions, rng)
        strange = self.penalty(*self.strange(batch["state"], rng))
        return own + self.critic_loss(actions, batch, rng) + strange + self.actor_loss(batch, rng)

    def draw(self, states: Tensor, rng: Rng) -> Tensor:
        """Draw an action of the policy for each state, (B, A)."""
        mean = self.actor(states)
        return (mean + self.actor.std * rng.normal(mean.shape)).clamp(-1, 1)

    @torch.no_grad()
    def targets(self, batch: Any, after: Tensor) -> Tensor:
        """Return the targets of reward and cost, (2, B), for the next actions (B, A)."""
        future = self.slow_q(batch["reached"], after).amin(0)
        ahead = self.slow_q_c(batch["reached"], after).amin(0)
        reward = batch["reward"] + batch["discount"] * (ahead <= self.limit) * future
        return torch.stack([reward, batch["cost"] + batch["discount"] * ahead])

    def critic_loss(self, actions: Tensor, batch: Any, rng: Rng) -> Tensor:
        """Return the squared errors of all critics, (B,)."""
        with torch.no_grad():
            reward, cost = self.targets(batch, self.draw(batch["reached"], rng))
        error = (self.q(batch["state"], actions) - reward).square()
        return (error + (self.q_c(batch["state"], actions) - cost).square()).sum(0)

    @torch.no_grad()
    def strange(self, states: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        """Return those of the policy's draws that are least like the data, with their states."""
        many = states.repeat(self.config.samples, 1)
        drawn = self.draw(many, rng)
        count = max(1, round(self.config.outside * len(many)))
        which = self.vae.strangeness(many, drawn).topk(count).indices
        return many[which], drawn[which]

    def penalty(self, states: Tensor, actions: Tensor) -> Tensor:
        """Return what raises the cost of actions, and move the multiplier first."""
        c, cost = self.config, self.q_c(states, actions).mean()
        short_of = c.margin * self.limit - cost
        self.multiplier.add_(c.rate * short_of.detach()).clamp_(0, c.most)
        return self.multiplier.clone() * short_of

    def actor_loss(self, batch: Any, rng: Rng) -> Tensor:
        """Return -Q of the policy's actions where they are allowed, else 0, (B,)."""
        state = batch["state"]
        chosen = self.draw(state, rng)
        allowed = self.q_c(state, chosen.detach()).detach().amin(0) <= self.limit
        return torch.where(allowed, -held(self.q, state, chosen).amin(0), 0.0)


def train(
    data: OfflineData, config: CPQConfig, folder: Path | None = None
) -> Generator[Progress, None, NetPolicy]:
    """Train, and return a policy whose setting is the share of the noise it acts with."""
    transitions = costed(data, config.gamma)
    limit = discounted_limit(config.cost_limit, config.gamma, int(data.lengths.max()))
    with initial_weights(stream_seed(config.seed)):
        model = CPQ(*transitions.sizes, config, limit)
    yield from fit("cpq", model, transitions, config.loop, folder)
    return NetPolicy(gaussian(model.actor), data, 0.0, transitions.normaliser)
