r"""FISOR's critics the plain way: a network of its own for each, an optimiser of its own for each.

=====  ==========================  ===============================================================
part   networks                    loss
=====  ==========================  ===============================================================
v      one perceptron              expectile of the smaller slow Q - V
q      two, and two slow copies    squared error of each to :math:`r + \gamma V(s')`
v_h    one                         reversed expectile of the larger slow :math:`Q_h - V_h`
q_h    two, and two slow copies    squared error of each to :math:`(1 - \gamma) h + \gamma
                                   \max(h, h', V_h(s'))`
=====  ==========================  ===============================================================

Source: algorithm 1 and the code of Zheng et al., 2024, FISOR, https://arxiv.org/abs/2401.10700.
Differs: as in :mod:`domains.rl.critics.feasible`, so that both can be compared number by number:
the targets of Q take V as it was before the step, and slow copies move at the beginning of a step.
"""

from typing import Any

import torch
from torch import Tensor, nn

from domains.rl.bench.apart import apart, together
from domains.rl.critics.feasible import SafeCritics
from domains.rl.safe.weights import WeightConfig, weights

PARTS = ("v", "q", "v_h", "q_h")  # in the original's order


class SeparateCritics(nn.Module):
    """Ten perceptrons, slow ones included, with the weights of stacked critics.

    Args:
        critics: whose weights and settings are taken.
    """

    def __init__(self, critics: SafeCritics) -> None:
        super().__init__()
        self.config = critics.config
        nets, slow = apart(critics.q), apart(critics.slow)
        self.q, self.q_h = nn.ModuleList(nets[:2]), nn.ModuleList(nets[2:])
        self.slow_q, self.slow_h = nn.ModuleList(slow[:2]), nn.ModuleList(slow[2:])
        self.v, self.v_h = apart(critics.v)
        for own in (self.slow_q, self.slow_h):
            own.requires_grad_(False)

    def write(self, critics: SafeCritics) -> None:
        """Copy all weights into stacked critics."""
        for nets, stacked in (
            ([*self.q, *self.q_h], critics.q),
            ([*self.slow_q, *self.slow_h], critics.slow),
            ([self.v, self.v_h], critics.v),
        ):
            together([net for net in nets if isinstance(net, nn.Sequential)], stacked)

    def slow_values(self, states: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Return the smaller slow Q and the larger slow Q_h, (B,) each."""
        own = torch.cat([states, actions], -1)
        q = torch.min(*(net(own)[:, 0] for net in self.slow_q))
        return q, torch.max(*(net(own)[:, 0] for net in self.slow_h))

    @torch.no_grad()
    def weigh(self, states: Tensor, actions: Tensor, config: WeightConfig) -> Tensor:
        """Return the weights of transitions, (B,), by the networks as they are now."""
        q, q_h = self.slow_values(states, actions)
        return weights(q, self.v(states)[:, 0], q_h, self.v_h(states)[:, 0], config)

    def losses(self, actions: Tensor, batch: Any) -> dict[str, Tensor]:
        """Return the loss of every part for every transition, (B,) each.

        Args:
            actions: scaled, (B, A).
            batch: as for :meth:`domains.rl.critics.feasible.SafeCritics.loss`.
        """
        state, how, g = batch["state"], self.config, batch["discount"]
        own = torch.cat([state, actions], -1)
        with torch.no_grad():
            slow_q, slow_h = self.slow_values(state, actions)
            ahead, ahead_h = (net(batch["reached"])[:, 0] for net in (self.v, self.v_h))
            target = batch["reward"] + how.gamma * batch["future"] * ahead
            worst = torch.max(batch["now"], batch["next"])
            beyond = torch.where(batch["future"] > 0, torch.max(worst, ahead_h), worst)
            target_h = (1 - g) * batch["now"] + g * beyond
        gain, relief = slow_q - self.v(state)[:, 0], self.v_h(state)[:, 0] - slow_h
        leaning = torch.where(gain < 0, 1 - how.expectile, how.expectile)
        leaning_h = torch.where(relief < 0, 1 - how.safety_expectile, how.safety_expectile)
        errors = [(net(own)[:, 0] - target).square() for net in self.q]
        errors_h = [(net(own)[:, 0] - target_h).square() for net in self.q_h]
        return {
            "v": leaning * gain.square(),
            "q": errors[0] + errors[1],
            "v_h": leaning_h * relief.square(),
            "q_h": errors_h[0] + errors_h[1],
        }

    @torch.no_grad()
    def follow(self) -> None:
        """Move the slow copies."""
        for slow, new in ((self.slow_q, self.q), (self.slow_h, self.q_h)):
            for old, weight in zip(slow.parameters(), new.parameters(), strict=True):
                old.lerp_(weight, self.config.tau)


class SeparateOptimisers:
    """Four optimisers, and the update that uses each in turn.

    Args:
        critics: what they move.
        lr: learning rate.
        fused: one kernel for all weights of a part, as our own optimiser has for all of them; the
            plain way is False.
    """

    def __init__(self, critics: SeparateCritics, lr: float, fused: bool = False) -> None:
        self.critics = critics
        self.each = {
            part: torch.optim.Adam(
                getattr(critics, part).parameters(), lr, betas=(0.9, 0.99), fused=fused
            )
            for part in PARTS
        }

    def update(self, actions: Tensor, batch: Any) -> dict[str, Tensor]:
        """Take one step with every optimiser; return the mean loss of each part."""
        self.critics.follow()
        means = {k: loss.mean() for k, loss in self.critics.losses(actions, batch).items()}
        for part in PARTS:
            self.each[part].zero_grad()
            means[part].backward()
            self.each[part].step()
        return {part: mean.detach() for part, mean in means.items()}
