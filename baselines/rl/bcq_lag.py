r"""BCQ-Lagrangian: small corrections of what the data do, for reward less the price of cost.

=========  ======================================================================================
behaviour  a variational autoencoder of a | s, trained on all of the data
policy     :math:`\pi(s) = \mathrm{clip}(a_b + \phi\, \xi(s, a_b), \pm 1)`, :math:`a_b` drawn from
           the behaviour; :math:`\max_\xi\; \min_i Q_i(s, \pi(s)) - \lambda\, (\min_i Q_{c,i}(s,
           \pi(s)) - l)`
critics    :math:`y = r + \gamma (1 - d) \max_j M[\bar Q(s', a'_j)]` and
           :math:`y_c = c + \gamma (1 - d) \max_j M[\bar Q_c(s', a'_j)]`, with K draws
           :math:`a'_j` of the slow policy, and M = w min + (1 - w) max over the twins
multiplier a controller of :math:`e = \mathrm{mean}(Q_c) - l`: with :math:`I \leftarrow (I + e)_+`,
           :math:`\lambda = (k_P e_+ + k_I I + k_D (e - e_{before})_+)_+`
=========  ======================================================================================

Of several draws, the one acts that is best by what the policy maximises; l is the discounted limit
of ``limit``.

Source: Fujimoto, Meger & Precup, 2019, Off-Policy Deep Reinforcement Learning without Exploration,
algorithm 1, https://arxiv.org/abs/1812.02900; Stooke, Achiam & Abbeel, 2020, Responsive Safety in
Reinforcement Learning by PID Lagrangian Methods, algorithm 2, https://arxiv.org/abs/2007.03964; as
put together in ``osrl/algorithms/bcql.py``, Liu et al., 2023, https://arxiv.org/abs/2306.09303.
Differs: the best of several draws acts, as in BCQ, where that code acts by one; costs end at
terminals; all parts are trained by one optimiser, see ``transitions.short``.
"""

from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from baselines.rl.limit import check_limit, costed, discounted_limit
from baselines.rl.nets import TanhActor, check_hidden, follow, held, slow_copy
from baselines.rl.policy import NetPolicy
from baselines.rl.transitions import fit, short
from baselines.rl.vae import ActionVAE
from domains.rl.data.offline import OfflineData
from domains.rl.train import Progress
from guided.nets.stacked import StackedMLP
from guided.rng import Rng, initial_weights, stream_seed
from guided.train import TrainConfig

FIXED_SEED = 0  # of the draws for an action without noise


@dataclass(frozen=True)
class BCQLagConfig:
    """How to train."""

    cost_limit: float = 5.0
    """Largest cost of an episode."""
    gamma: float = 0.99
    """Discount of a step, of rewards and costs."""
    phi: float = 0.05
    """Largest correction of an action, of a range of -1 to 1."""
    samples: int = 5
    """Next actions of a target, K."""
    candidates: int = 10
    """Draws of which the best acts."""
    pessimism: float = 0.75
    """Weight of the least of the twins in targets, w."""
    gains: tuple[float, float, float] = (0.1, 0.003, 0.001)
    """Proportional, integral and derivative gain of the multiplier's controller."""
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
        if not 0 < self.gamma <= 1 or not 0 < self.tau <= 1 or not 0 <= self.pessimism <= 1:
            raise ValueError(
                f"BCQ-Lag needs gamma and tau in (0, 1] and pessimism in [0, 1], got {self.gamma}, "
                f"{self.tau} and {self.pessimism}"
            )
        if min(self.samples, self.candidates) < 1:
            raise ValueError(
                f"BCQ-Lag needs samples >= 1 and candidates >= 1, got {self.samples} and "
                f"{self.candidates}"
            )
        if min(self.phi, self.beta, *self.gains) < 0:
            raise ValueError(
                f"BCQ-Lag needs phi, beta and gains of at least 0, got {self.phi}, {self.beta} and "
                f"{self.gains}"
            )
        check_hidden(self.hidden)


class Controller(nn.Module):
    """A multiplier that follows how far costs are above their limit; its state is saved.

    Args:
        gains: proportional, integral, derivative.
    """

    before: Tensor
    integral: Tensor
    value: Tensor

    def __init__(self, gains: tuple[float, float, float]) -> None:
        super().__init__()
        self.gains = gains
        for name in ("before", "integral", "value"):
            self.register_buffer(name, torch.zeros(()))

    def forward(self, error: Tensor) -> Tensor:
        """Take the mean excess, a number, and return the multiplier, at least 0."""
        p, i, d = self.gains
        self.integral.add_(error).clamp_(min=0)
        change = (error - self.before).relu()
        self.value.copy_(p * error.relu() + i * self.integral + d * change)
        self.before.copy_(error)
        return self.value.clone()


class BCQLag(nn.Module):
    """Behaviour, correction, twin critics of reward and of cost, slow copies and multiplier.

    Args:
        states: numbers in a state.
        actions: numbers in an action.
        config: how they learn.
        limit: largest discounted cost, l.
    """

    def __init__(self, states: int, actions: int, config: BCQLagConfig, limit: float) -> None:
        super().__init__()
        self.config, self.limit = config, limit
        self.vae = ActionVAE(states, actions, config.hidden, config.beta)
        self.shift = TanhActor(states + actions, actions, config.hidden)
        self.q = StackedMLP(2, states, actions, config.hidden)
        self.q_c = StackedMLP(2, states, actions, config.hidden)
        self.slow_shift = slow_copy(self.shift)
        self.slow_q, self.slow_q_c = slow_copy(self.q), slow_copy(self.q_c)
        self.multiplier = Controller(config.gains)

    def loss(self, actions: Tensor, batch: Any, rng: Rng) -> Tensor:
        """Return the sum of all losses of every transition, (B,)."""
        for slow, fast in (
            (self.slow_shift, self.shift), (self.slow_q, self.q), (self.slow_q_c, self.q_c),
        ):  # fmt: skip
            follow(slow, fast, self.config.tau)
        own = self.vae.loss(batch["state"], actions, rng)
        return own + self.critic_loss(actions, batch, rng) + self.actor_loss(batch, rng)

    def corrected(self, shift: nn.Module, states: Tensor, actions: Tensor) -> Tensor:
        """Return actions (B, A) of the behaviour as a correction changes them."""
        moved = actions + self.config.phi * shift(torch.cat([states, actions], 1))
        return moved.clamp(-1, 1)

    @torch.no_grad()
    def targets(self, batch: Any, after: Tensor) -> Tensor:
        """Return the targets of reward and cost, (2, B), for next actions (B, K, A)."""
        reached, discount = batch["reached"], batch["discount"]
        future, ahead = (
            self.mixed(q(reached, after)).amax(1) for q in (self.slow_q, self.slow_q_c)
        )
        return torch.stack([batch["reward"] + discount * future, batch["cost"] + discount * ahead])

    def mixed(self, twins: Tensor) -> Tensor:
        """Return w min + (1 - w) max over the first axis."""
        return torch.lerp(twins.amax(0), twins.amin(0), self.config.pessimism)

    def critic_loss(self, actions: Tensor, batch: Any, rng: Rng) -> Tensor:
        """Return the squared errors of all critics, (B,)."""
        with torch.no_grad():
            after = self.draws(self.slow_shift, batch["reached"], self.config.samples, rng)
            reward, cost = self.targets(batch, after)
        error = (self.q(batch["state"], actions) - reward).square()
        return (error + (self.q_c(batch["state"], actions) - cost).square()).sum(0)

    def actor_loss(self, batch: Any, rng: Rng) -> Tensor:
        """Return -Q and the priced excess of cost, (B,); moves the multiplier first."""
        state = batch["state"]
        chosen = self.corrected(self.shift, state, self.vae.draw(state, rng))
        excess = held(self.q_c, state, chosen).amin(0) - self.limit
        price = self.multiplier(excess.detach().mean())
        return price * excess - held(self.q, state, chosen).amin(0)

    def draws(self, shift: nn.Module, states: Tensor, count: int, rng: Rng) -> Tensor:
        """Draw actions of the policy, (B, count, A)."""
        many = states.repeat_interleave(count, 0)
        return self.corrected(shift, many, self.vae.draw(many, rng)).unflatten(0, (-1, count))

    def choose(self, states: Tensor, rng: Rng | None, candidates: float) -> Tensor:
        """Return the best of some draws, (N, A), for states (N, S)."""
        own = rng or Rng([FIXED_SEED] * len(states))
        drawn = self.draws(self.shift, states, int(candidates), own)
        cost = self.multiplier.value * self.q_c(states, drawn).amin(0)
        best = (self.q(states, drawn).amin(0) - cost).argmax(1)
        return drawn[torch.arange(len(states)), best]


def train(
    data: OfflineData, config: BCQLagConfig, folder: Path | None = None
) -> Generator[Progress, None, NetPolicy]:
    """Train, and return a policy whose setting is the number of draws of which the best acts."""
    transitions = costed(data, config.gamma)
    limit = discounted_limit(config.cost_limit, config.gamma, int(data.lengths.max()))
    with initial_weights(stream_seed(config.seed)):
        model = BCQLag(*transitions.sizes, config, limit)
    yield from fit("bcq_lag", model, transitions, config.loop, folder)
    return NetPolicy(model.choose, data, float(config.candidates), transitions.normaliser)
