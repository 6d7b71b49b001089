r"""A twin critic and its slow copy, with the two rules that teach it: softmax and expectile.

Both learn values of actions that the data support, and never ask for the value of others:

=============  ==================================================================================
``softmax``    :math:`V(s') = \sum_j \mathrm{softmax}_j(\beta \bar Q(s', a_j))\, \bar Q(s', a_j)`
               over actions :math:`a_j` drawn from the behaviour model
``expectile``  a value network, the expectile of :math:`\bar Q(s, a)` over the data's actions
=============  ==================================================================================

:math:`\bar Q` is the smaller of the two slow critics.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from guided.nets.embed import RandomFourier
from guided.nets.stacked import StackedMLP

Rule = Literal["softmax", "expectile"]


@dataclass(frozen=True)
class CriticConfig:
    """How values are learned."""

    rule: Rule = "softmax"
    """``softmax`` over support actions, or the ``expectile`` of implicit Q-learning."""
    gamma: float = 0.99
    """Discount of a step."""
    n_step: int = 10
    """Rewards summed before the value of the state reached takes over."""
    warm_up: float = 0.5
    """Share of the training on Monte-Carlo returns, before the rule above sets in."""
    beta: float = 10.0
    """Softmax: inverse temperature, in units of one over the spread of Q within a state."""
    expectile: float = 0.9
    """Expectile: 0.5 is the behaviour's value, 1 the best action seen."""
    tau: float = 0.005
    """Share of the new weights that the slow critics take in a step."""
    hidden: tuple[int, ...] = (128, 128)
    """Widths of the hidden layers."""
    fourier: int = 0
    """Random Fourier features that the critics see beside the state; 0 is none. They sharpen values
    that jump, as across the walls of a large maze."""
    fourier_scale: float = 0.15
    """Their frequencies, in cycles per standard deviation of the state."""

    def __post_init__(self) -> None:
        if self.rule not in ("softmax", "expectile"):
            raise ValueError(f"unknown rule {self.rule!r}; expected 'softmax' or 'expectile'")
        if not (0 < self.gamma <= 1 and 0 < self.tau <= 1 and 0.5 <= self.expectile < 1):
            raise ValueError(
                f"a critic needs gamma and tau in (0, 1] and expectile in [0.5, 1), got "
                f"{self.gamma}, {self.tau} and {self.expectile}"
            )
        if self.fourier < 0 or not self.fourier_scale > 0:
            raise ValueError(
                f"a critic needs fourier >= 0 and fourier_scale > 0, got {self.fourier} and "
                f"{self.fourier_scale}"
            )
        if self.n_step < 1 or not 0 <= self.warm_up <= 1 or self.beta < 0:
            raise ValueError(
                f"a critic needs n_step >= 1, warm_up in [0, 1] and beta >= 0, got {self.n_step}, "
                f"{self.warm_up} and {self.beta}"
            )
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"a critic needs widths of hidden layers >= 1, got {self.hidden}")


class Critic(nn.Module):
    """Twin critics of normalised states and scaled actions, their slow copies, a value network.

    Args:
        states: numbers in a state.
        actions: numbers in an action.
        config: how it learns.
    """

    spread: Tensor

    def __init__(self, states: int, actions: int, config: CriticConfig) -> None:
        super().__init__()
        self.config = config
        self.seen: nn.Module = nn.Identity()
        if config.fourier:
            self.seen = features = RandomFourier(states, config.fourier, config.fourier_scale)
            states = features.out
        self.net = StackedMLP(2, states, actions, config.hidden)
        self.slow = StackedMLP(2, states, actions, config.hidden).requires_grad_(False)
        self.slow.load_state_dict(self.net.state_dict())
        expectile = config.rule == "expectile"
        self.value = StackedMLP(1, states, 0, config.hidden) if expectile else None
        # Running standard deviation of Q within a state; nan before the first batch.
        self.register_buffer("spread", torch.tensor(float("nan")))

    def q(self, states: Tensor, actions: Tensor) -> Tensor:
        """Return the smaller slow value, (B,) or (B, K), for (B, S) and (B, A) or (B, K, A)."""
        return self._least(self.seen(states), actions)

    def loss(self, actions: Tensor, batch: Any, _: Any = None) -> Tensor:
        r"""Return the loss of each transition, (B,); moves the slow critics first.

        Args:
            actions: a of each transition, (B, A).
            batch: a dict: ``state`` (B, S); ``reward`` and ``discount`` (B,), the two parts of the
                target; ``reached`` (B, S), the state whose value is discounted; for ``softmax``
                also its ``support`` (B, M, A).
        """
        self._follow()
        state, reached = self.seen(batch["state"]), self.seen(batch["reached"])
        extra: Tensor | float = 0.0
        with torch.no_grad():
            if self.value is None:
                future = self._softmax_value(reached, batch["support"])
            else:
                future = self.value(reached)[0]
            target = batch["reward"] + batch["discount"] * future
        if self.value is not None:
            gap = self._least(state, actions) - self.value(state)[0]
            extra = (self.config.expectile - (gap < 0).to(gap)).abs() * gap.square()
        return (self.net(state, actions) - target).square().sum(0) + extra

    def _least(self, seen: Tensor, actions: Tensor) -> Tensor:
        return self.slow(seen, actions).amin(0)

    def _softmax_value(self, states: Tensor, support: Tensor) -> Tensor:
        q = self._least(states, support)
        now = q.std(1).mean().to(self.spread)
        self.spread.copy_(torch.where(self.spread.isnan(), now, self.spread.lerp(now, 0.01)))
        weights = (self.config.beta / self.spread.clamp(min=1e-6) * q).softmax(1)
        return (weights * q).sum(1)

    @torch.no_grad()
    def _follow(self) -> None:
        for slow, new in zip(self.slow.parameters(), self.net.parameters(), strict=True):
            slow.lerp_(new, self.config.tau)
