r"""Critics of what is feasible and of what it earns, learned from logged actions alone.

==========  ======================================================================================
critics     :math:`Q_h \to (1 - \gamma) h + \gamma \max(h, h', V_h(s'))`, by squared error
            :math:`Q \to r + \gamma V(s')`
values      :math:`V_h`: the *reversed* expectile of the larger slow :math:`\bar Q_h(s, a)`, which
            is about the least over the data's actions
            V: the expectile of the smaller slow :math:`\bar Q(s, a)`, about the largest
==========  ======================================================================================

After a terminal there is no :math:`V(s')`. All four Q are one stack and both V another, so that a
layer of all of them is one batched product.

Source: Zheng et al., 2024, FISOR, eq. 5, 10 and 11, https://arxiv.org/abs/2401.10700; Kostrikov et
al., 2022, IQL, eq. 5-6, https://arxiv.org/abs/2110.06169.
Differs: h' is the margin of the state reached, where the data have it (labels of costs have h' = h,
which is the original's rule); timeouts are no terminals.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from guided.nets.stacked import StackedMLP

REWARD, FEASIBLE = 0, 1  # places of both V
PAIR = 2  # critics of each kind


@dataclass(frozen=True)
class SafetyConfig:
    """How feasibility and value are learned."""

    gamma: float = 0.99
    """Discount of rewards."""
    safety_gamma: float = 0.99
    """Discount of the feasibility operator; below 1 it forgets danger far ahead."""
    safety_gamma_end: float | None = None
    """Where that discount goes during the training, for example 0.999; None leaves it."""
    expectile: float = 0.9
    """Of the reward's value: 0.5 is the behaviour's, 1 the best action seen."""
    safety_expectile: float = 0.9
    """Of the feasible value, reversed: 0.5 is the behaviour's, 1 the safest action seen."""
    tau: float = 0.005
    """Share of the new weights that the slow critics take in a step."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers."""
    label: float | None = None
    """M, the margin of a transition with a cost (-1 is that of one without); None chooses it so
    that a violation counts from a whole episode ahead."""
    floor: float | None = None
    """Logged margins below -floor count as -floor: far from danger, distance means nothing."""
    from_costs: bool = False
    """Learn from costs even where the data tell margins."""
    reward_scale: float | None = None
    """What rewards are multiplied by; None is steps of an episode / (largest - least return)."""
    fisor_compat: bool = False
    """Count timeouts as terminals and take the margin after a transition for the one before, as the
    original code does."""

    def __post_init__(self) -> None:
        end = self.safety_gamma if self.safety_gamma_end is None else self.safety_gamma_end
        if not all(0 < g <= 1 for g in (self.gamma, self.safety_gamma, end, self.tau)):
            raise ValueError(
                f"safe critics need discounts and tau in (0, 1], got gamma {self.gamma}, "
                f"safety_gamma {self.safety_gamma} to {end} and tau {self.tau}"
            )
        if not all(0.5 <= e < 1 for e in (self.expectile, self.safety_expectile)):
            raise ValueError(
                f"safe critics need expectiles in [0.5, 1), got {self.expectile} and "
                f"{self.safety_expectile}"
            )
        for name in ("label", "floor", "reward_scale"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"safe critics need {name} > 0, got {value}")
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"critics need widths of hidden layers >= 1, got {self.hidden}")

    def discount_at(self, share: float) -> float:
        """Return the feasibility discount after a share of the training, in [0, 1].

        Between the two, 1 - gamma falls geometrically to 1e-6 at the least.
        """
        if self.safety_gamma_end is None:
            return self.safety_gamma
        first, last = (max(1 - g, 1e-6) for g in (self.safety_gamma, self.safety_gamma_end))
        return 1 - first ** (1 - share) * last**share


class SafeCritics(nn.Module):
    """Twin critics of reward and of feasibility, their slow copies, and both values.

    Args:
        states: numbers in a state.
        actions: numbers in an action.
        config: how they learn.
    """

    def __init__(self, states: int, actions: int, config: SafetyConfig) -> None:
        super().__init__()
        self.config = config
        self.q = StackedMLP(2 * PAIR, states, actions, config.hidden)
        self.slow = StackedMLP(2 * PAIR, states, actions, config.hidden).requires_grad_(False)
        self.slow.load_state_dict(self.q.state_dict())
        self.v = StackedMLP(2, states, 0, config.hidden)

    def judge(self, states: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Return Q (the smaller) and Q_h (the larger) of the slow critics, each (B,) or (B, K).

        Args:
            states: normalised, (B, S).
            actions: scaled, (B, A) or (B, K, A).
        """
        both = self.slow(states, actions)
        return both[:PAIR].amin(0), both[PAIR:].amax(0)

    def q_h(self, states: Tensor, actions: Tensor) -> Tensor:
        """Return the feasible value of actions; arguments as in :meth:`judge`."""
        return self.judge(states, actions)[1]

    def v_h(self, states: Tensor) -> Tensor:
        """Return the feasible value of states (B, S), shape (B,): feasible where it is <= 0."""
        return self.v(states)[FEASIBLE]

    def loss(self, actions: Tensor, batch: Any, _: Any = None) -> Tensor:
        """Return the sum of all losses of each transition, (B,); moves the slow critics first.

        Args:
            actions: a of each transition, (B, A).
            batch: a dict: ``state`` and ``reached`` (B, S); ``reward``; ``future``, 0 after a
                terminal, else 1; ``now`` and ``next``, the margins, all (B,); ``discount``, that of
                feasibility, a number.
        """
        self._follow()
        with torch.no_grad():
            slow_q, slow_h = self.judge(batch["state"], actions)
            target = self.targets(batch, self.v(batch["reached"]))
        value, feasible = self.v(batch["state"])
        error = (self.q(batch["state"], actions).unflatten(0, (2, PAIR)) - target[:, None]).square()
        gain, relief = slow_q - value, feasible - slow_h
        own = expectile_loss(gain, self.config.expectile)
        return error.sum((0, 1)) + own + expectile_loss(relief, self.config.safety_expectile)

    def targets(self, batch: Any, ahead: Tensor) -> Tensor:
        """Return the targets of reward and feasibility, (2, B), for values ahead, (2, B)."""
        future, g = batch["future"], batch["discount"]
        reward = batch["reward"] + self.config.gamma * future * ahead[REWARD]
        worst = torch.maximum(batch["now"], batch["next"])
        beyond = torch.where(future > 0, ahead[FEASIBLE], worst)
        feasible = (1 - g) * batch["now"] + g * torch.maximum(worst, beyond)
        return torch.stack([reward, feasible])

    @torch.no_grad()
    def _follow(self) -> None:
        slow: list[Tensor] = list(self.slow.parameters())
        torch._foreach_lerp_(slow, list[Tensor](self.q.parameters()), self.config.tau)


def expectile_loss(u: Tensor, expectile: float) -> Tensor:
    """Return |expectile - 1[u < 0]| u^2, entry by entry."""
    return torch.where(u < 0, 1 - expectile, expectile) * u.square()
