r"""Diffusion-QL: a diffusion policy that is trained through its own sampling chain to raise Q.

=========  ======================================================================================
critics    :math:`y = r + \gamma (1 - d) \min_i \bar Q_i(s', a')`, a' drawn from the slow policy
policy     :math:`\min_\theta\; E \|\epsilon - \epsilon_\theta(a_t, t, s)\|^2 / A
           - \eta\, Q(s, a_0) / \mathrm{mean} |Q|`, a_0 drawn by the chain, all T steps of which
           pass the gradient on; Q is either critic, by a coin
=========  ======================================================================================

The chain is DDPM's, with T = 5 levels of the variance preserving schedule of beta 0.1, ..., 10.
One acts by the best of a few draws, by :math:`\min_i \bar Q_i`.

Source: Wang, Hunt & Zhou, 2023, Diffusion Policies as an Expressive Policy Class for Offline
Reinforcement Learning, algorithm 1 and eq. 3, https://arxiv.org/abs/2208.06193.
Differs: no max-Q backup; the slow policy follows in every step, from the first on, and is the one
that acts; the best draw acts, where the source draws among 50 by softmax(Q), which depends on the
unit of the reward; gradients are not clipped; see ``transitions.short`` for the learning rate.
"""

import math
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from baselines.rl.nets import check_hidden, follow, held, slow_copy
from baselines.rl.policy import NetPolicy
from baselines.rl.transitions import Bootstrap, Transitions, fit, short
from domains.rl.data.offline import OfflineData
from domains.rl.train import Progress
from guided.nets import ResidualMLP
from guided.nets.stacked import StackedMLP
from guided.rng import Rng, initial_weights, stream_seed
from guided.train import TrainConfig

BETA_MIN, BETA_MAX = 0.1, 10.0
FIXED_SEED = 0  # of the noise that an action without noise starts from


@dataclass(frozen=True)
class DiffusionQLConfig:
    """How to train."""

    eta: float = 1.0
    """Weight of Q against imitation."""
    levels: int = 5
    """Steps of the chain, T."""
    candidates: int = 10
    """Draws of which the best acts; the comparison tries its own values instead."""
    tau: float = 0.005
    """Share of the new weights that slow copies take in a step."""
    width: int = 128
    """Of the hidden layers of the policy."""
    depth: int = 2
    """Its residual blocks."""
    hidden: tuple[int, ...] = (128, 128)
    """Widths of the hidden layers of the critics."""
    bootstrap: Bootstrap = field(default_factory=Bootstrap)
    """The targets of the critics."""
    loop: TrainConfig = field(default_factory=lambda: short(6_000))
    """The optimisation."""
    seed: int = 0
    """Of the initial weights."""

    def __post_init__(self) -> None:
        if min(self.levels, self.candidates, self.width, self.depth) < 1:
            raise ValueError(
                f"Diffusion-QL needs levels, candidates, width and depth of at least 1, got "
                f"{self.levels}, {self.candidates}, {self.width} and {self.depth}"
            )
        if self.eta < 0 or not 0 < self.tau <= 1:
            raise ValueError(
                f"Diffusion-QL needs eta >= 0 and tau in (0, 1], got {self.eta} and {self.tau}"
            )
        check_hidden(self.hidden)


class Chain(nn.Module):
    """A conditional DDPM of scaled actions."""

    kept: Tensor

    def __init__(self, states: int, actions: int, config: DiffusionQLConfig) -> None:
        super().__init__()
        self.net = ResidualMLP(actions, states, config.width, config.depth)
        self.actions, self.levels = actions, config.levels
        count = config.levels
        rates = [
            1 - math.exp(-BETA_MIN / count - (BETA_MAX - BETA_MIN) * (2 * i + 1) / (2 * count**2))
            for i in range(count)
        ]
        self.rates = rates  # beta_i; level 0 is the cleanest
        kept = torch.tensor([1 - rate for rate in rates], dtype=torch.float64).cumprod(0)
        self.shares: list[float] = kept.tolist()
        self.register_buffer("kept", kept.float(), persistent=False)  # bar alpha_i

    def imitation(self, actions: Tensor, states: Tensor, rng: Rng) -> Tensor:
        """Return the denoising loss of actions (B, A) in states (B, S), shape (B,)."""
        i = rng.integers(0, self.levels, (len(actions),))
        noise, kept = rng.normal(actions.shape), self.kept[i, None]
        noisy = kept.sqrt() * actions + (1 - kept).sqrt() * noise
        found = self.net(noisy, i / self.levels, states)
        return (found - noise).square().mean(1)

    def forward(self, states: Tensor, *noise: Tensor) -> Tensor:
        """Draw actions (B, A) for states (B, S) from T + 1 normal draws (B, A)."""
        x, own = noise[0], self.net.embed_cond(states)
        times = self.net.embed_time(torch.arange(self.levels) / self.levels)
        for i, z in zip(reversed(range(self.levels)), noise[1:], strict=True):
            kept, rate = self.shares[i], self.rates[i]
            before = self.shares[i - 1] if i else 1.0
            eps = self.net.body(x, times[i] + own)
            clean = ((x - math.sqrt(1 - kept) * eps) / math.sqrt(kept)).clamp(-1, 1)
            # The law of the level below, given this one and the clean action.
            mean = math.sqrt(before) * rate * clean + math.sqrt(1 - rate) * (1 - before) * x
            x = mean / (1 - kept) + math.sqrt(rate * (1 - before) / (1 - kept)) * z
        return x

    def noise(self, count: int, rng: Rng) -> list[Tensor]:
        """Return what one call needs to draw ``count`` actions."""
        return [rng.normal((count, self.actions)) for _ in range(self.levels + 1)]


class DiffusionQL(nn.Module):
    """Policy, twin critics, and the slow copies of both."""

    def __init__(self, states: int, actions: int, config: DiffusionQLConfig) -> None:
        super().__init__()
        self.config = config
        self.policy = Chain(states, actions, config)
        self.q = StackedMLP(2, states, actions, config.hidden)
        self.slow_policy, self.slow_q = slow_copy(self.policy), slow_copy(self.q)

    def loss(self, actions: Tensor, batch: Any, rng: Rng) -> Tensor:
        """Return the critics' and the policy's loss of every transition, (B,)."""
        follow(self.slow_policy, self.policy, self.config.tau)
        follow(self.slow_q, self.q, self.config.tau)
        return self.critic_loss(actions, batch, rng) + self.policy_loss(actions, batch, rng)

    def critic_loss(self, actions: Tensor, batch: Any, rng: Rng) -> Tensor:
        """Return the squared errors of both critics, (B,)."""
        with torch.no_grad():
            after = self.slow_policy(batch["reached"], *self.policy.noise(len(actions), rng))
            future = self.slow_q(batch["reached"], after).amin(0)
            target = batch["reward"] + batch["discount"] * future
        return (self.q(batch["state"], actions) - target).square().sum(0)

    def policy_loss(self, actions: Tensor, batch: Any, rng: Rng) -> Tensor:
        """Return imitation and -eta Q / mean |Q|, (B,); the critics get no gradient."""
        state = batch["state"]
        chosen = self.policy(state, *self.policy.noise(len(actions), rng))
        q = held(self.q, state, chosen)
        coin = int(rng.integers(0, 2, (1,)))
        # As in the source, one critic leads and the other one tells the scale.
        scale = self.config.eta / q[1 - coin].detach().abs().mean().clamp(min=1e-6)
        return self.policy.imitation(actions, state, rng) - scale * q[coin]

    def choose(self, states: Tensor, rng: Rng | None, candidates: float) -> Tensor:
        """Return the best of some draws, (N, A), for states (N, S)."""
        n = int(candidates)
        many = states.repeat_interleave(n, 0)
        noise = self.policy.noise(len(many), rng or Rng([FIXED_SEED] * len(states)))
        drawn = self.slow_policy(many, *noise)
        best = self.slow_q(many, drawn).amin(0).unflatten(0, (-1, n)).argmax(1)
        return drawn.unflatten(0, (-1, n))[torch.arange(len(states)), best]


def train(
    data: OfflineData, config: DiffusionQLConfig, folder: Path | None = None
) -> Generator[Progress, None, NetPolicy]:
    """Train, and return a policy whose setting is the number of draws of which the best acts."""
    transitions = Transitions(data, config.bootstrap)
    with initial_weights(stream_seed(config.seed)):
        model = DiffusionQL(*transitions.sizes, config)
    yield from fit("diffusion_ql", model, transitions, config.loop, folder)
    return NetPolicy(model.choose, data, float(config.candidates), transitions.normaliser)
