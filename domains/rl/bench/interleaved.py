r"""FISOR in the original's order: critics and policy in every iteration, side by side.

An iteration draws one batch. Every transition in it is weighed by the critics as they are, and the
policy minimises the mean of

.. math:: w(s, a)\, |\epsilon - \epsilon_\theta(a_t, s, t)|^2

over it, rows of weight 0 included. Then the critics are updated on the batch's first rows. The
original makes two updates of the policy an iteration, each on its own half of the batch.

Source: algorithm 1 and the code of Zheng et al., 2024, FISOR, https://arxiv.org/abs/2401.10700.
Differs: margins, weights, networks, learning rates and averages are those of
:mod:`domains.rl.safe.train`, so that order and batching are all that is compared; the policy may be
updated more or less often than twice, so that numbers of updates agree. Gradients are not clipped.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from domains.rl.bench.separate import SeparateCritics, SeparateOptimisers
from domains.rl.safe.train import SafeRun
from guided.optimizer import rate_at
from guided.rng import Rng, stream_seed
from guided.train import TrainConfig


class Interleaved:
    """The networks of a run, trained in this order.

    Args:
        run: at its beginning; its critics are copied, its behaviour is trained in place.
    """

    def __init__(self, run: SafeRun) -> None:
        self.run, self.actor = run, run.behaviour.train()
        self.loops = run.config.critic_loop, run.config.policy_loop
        self.critics = SeparateCritics(run.critics)
        self.optimisers = SeparateOptimisers(self.critics, self.loops[0].lr)
        self.actor_optimiser = torch.optim.Adam(
            self.actor.parameters(), self.loops[1].lr, betas=(0.9, 0.99)
        )
        self.averages = [
            _averaged(net, loop.ema)
            for net, loop in zip((self.critics, self.actor), self.loops, strict=True)
        ]
        self.updates = 0  # of the policy

    def iteration(self, step: int) -> tuple[float, float]:
        """Draw a batch and learn from it; return the last losses of critics and policy."""
        critic_loop, policy_loop = self.loops
        due = (step + 1) * policy_loop.steps // critic_loop.steps - self.updates
        generator = torch.Generator().manual_seed(stream_seed(self.run.config.seed, step))
        rows = max(due * policy_loop.batch, critic_loop.batch)
        i = torch.randint(len(self.run.data), (rows,), generator=generator)
        loss = 0.0
        for k in range(due):
            own = i[k * policy_loop.batch :][: policy_loop.batch]
            loss = self._update_actor(own, Rng.wrap(generator))
        return self._update_critics(i[: critic_loop.batch], step), loss

    def actor_loss(self, i: Tensor, rng: Rng) -> Tensor:
        """Return the weighted loss of transitions ``i``, a number."""
        data = self.run.scaled
        state, action = data.states[data.at[i]], data.actions[i]
        weight = self.critics.weigh(state, action, self.run.config.weights)
        return (weight * self.actor.loss(action, state, rng)).mean()

    def finish(self) -> None:
        """Leave the run's own networks with the averaged weights."""
        critics: Any = self.averages[0].module
        for part in ("slow_q", "slow_h"):  # as our own training: what no gradient moves
            getattr(critics, part).load_state_dict(getattr(self.critics, part).state_dict())
        critics.write(self.run.critics)
        self.actor.load_state_dict(self.averages[1].module.state_dict())
        self.actor.eval()
        self.run.critics.eval()

    def _update_actor(self, i: Tensor, rng: Rng) -> float:
        _set_rate(self.actor_optimiser, self.loops[1], self.updates)
        loss = self.actor_loss(i, rng)
        self.actor_optimiser.zero_grad()
        loss.backward()
        self.actor_optimiser.step()
        self.averages[1].update_parameters(self.actor)
        self.updates += 1
        return loss.item()

    def _update_critics(self, i: Tensor, step: int) -> float:
        loop, how = self.loops[0], self.run.config.critics
        for optimiser in self.optimisers.each.values():
            _set_rate(optimiser, loop, step)
        batch = self.run.critic_batch(i, how.discount_at(step / loop.steps))
        losses = self.optimisers.update(self.run.scaled.actions[i], batch)
        self.averages[0].update_parameters(self.critics)
        return sum(loss.item() for loss in losses.values())


def _set_rate(optimiser: torch.optim.Optimizer, loop: TrainConfig, step: int) -> None:
    for group in optimiser.param_groups:
        group["lr"] = loop.lr * rate_at(step, loop.steps, loop.warmup, loop.decay)


def _averaged(net: nn.Module, decay: float) -> AveragedModel:
    """Return an average that follows as that of :mod:`guided.train`."""

    def follow(averages: Any, values: Any, done: Tensor | int) -> None:
        step = int(done)
        torch._foreach_lerp_(averages, values, 1 - min(decay, (1 + step) / (10 + step)))

    return AveragedModel(net, multi_avg_fn=follow)
