"""CappedIGW over a diffusion policy: explores around the behaviour by its critic's values."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from domains.rl.off_policy.capped_igw import Played, among, require_shape
from domains.rl.policy import DiffusionPolicy
from domains.rl.stack import standard_stack
from guided.rng import Rng


class CappedIGW:
    """Acts by :func:`~domains.rl.off_policy.capped_igw.among`, with the policy as the reference.

    The density of what a diffusion model draws need not be known: it cancels in the weights of any
    target whose density is known with respect to the same draws.

    Losses: in each state the critic's values of the draws are mapped to [0, 1], the largest to 0.
    The smallest has 1, or what it lacks in units of ``span``, cut at 1. The mapping may depend on
    the draws, as the logged density is given all of them.

    Args:
        policy: drawn from at ``scale``, one candidate a draw.
        tau: largest density with respect to the policy; 1 is the policy itself.
        gamma: how much smaller values are avoided.
        draws: K, in every state.
        scale: guidance of the reference; 0 is the behaviour.
        span: difference of values that counts as a loss of 1; None is the range of the draws of
            each state. Give it where states in which nothing matters should be explored freely.
        seed: of the stream that draws where ``act`` is given none.

    Raises:
        ValueError: for a policy without a critic, or settings out of range.
    """

    def __init__(
        self,
        policy: DiffusionPolicy,
        tau: float = 10.0,
        gamma: float = 50.0,
        draws: int = 64,
        *,
        scale: float = 0.0,
        span: float | None = None,
        seed: int = 0,
    ) -> None:
        networks = policy.networks
        if networks.critic is None and networks.safety is None:
            raise ValueError("this policy has no critic to explore by; train one")
        if draws < 1 or (span is not None and not 0 < span < math.inf):
            raise ValueError(
                f"CappedIGW needs at least 1 draw and a span that is positive and finite, got "
                f"{draws} and {span}"
            )
        require_shape(tau, gamma)
        self.policy = policy.guided(standard_stack, scale=scale, candidates=1)
        self.normaliser = networks.normaliser
        self.tau, self.gamma, self.draws, self.span = tau, gamma, draws, span
        self.rng = Rng(seed)

    @torch.no_grad()
    def play(self, states: Tensor, rng: Rng) -> Played:
        """Return scaled actions in [-1, 1] for raw flat states (N, S), and their densities.

        Args:
            states: what the data call states.
            rng: one stream, or one a row.
        """
        drawn = self.policy.sample(states, rng, each=self.draws)
        actions = drawn.unflatten(0, (len(states), self.draws))
        values = self.value(self.normaliser.states(states), actions)
        return among(actions, losses(values, self.span), self.tau, self.gamma, rng)

    def value(self, states: Tensor, actions: Tensor) -> Tensor:
        """Return Q, (B, K), of normalised states (B, S) and scaled actions (B, K, A)."""
        critic, safety = self.policy.networks.critic, self.policy.networks.safety
        if critic is not None:
            return critic.q(states, actions)
        assert safety is not None
        return safety.judge(states, actions)[0]

    def act(self, obs: Any, *, deterministic: bool = False, rng: Rng | None = None) -> np.ndarray:
        """Return actions in the environment's units, (A,) or (N, A); the log density is dropped.

        Raises:
            ValueError: for ``deterministic``: exploring is random.
        """
        if deterministic:
            raise ValueError("CappedIGW explores, which is random; act with the policy itself")
        flat, single = self.policy.observed(obs)
        played = self.play(torch.from_numpy(flat), rng or self.rng)
        actions = self.normaliser.actions_back(played.actions).numpy()
        return actions[0] if single else actions


def losses(values: Tensor, span: float | None = None) -> Tensor:
    """Return losses in [0, 1] of values (B, K), as :class:`CappedIGW` says."""
    gap = values.amax(1, keepdim=True) - values
    width = gap.amax(1, keepdim=True).clamp(min=torch.finfo(gap.dtype).tiny)
    return (gap / (width if span is None else span)).clamp(0, 1)
