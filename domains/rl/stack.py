"""What guides a policy: the sampler built from its networks."""

from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from domains.rl.contrast import parts
from domains.rl.critics.critic import Critic
from domains.rl.critics.feasible import SafeCritics
from guided.denoiser import Denoiser
from guided.energy import Energy
from guided.guidance import CEP, BestOfN
from guided.sampler import Sampler
from guided.samplers import DPMpp2M

if TYPE_CHECKING:
    from domains.rl.policy import DiffusionPolicy

Stack = Callable[["DiffusionPolicy"], Sampler | BestOfN]


class CriticEnergy(Energy):
    """E = -Q of scaled actions (B, A), for a cond with the entry ``state`` (B, S).

    What is beyond [-1, 1] is cut off, as in the action that the environment gets.
    """

    differentiable = True

    def __init__(self, critic: Critic) -> None:
        self.critic = critic

    def __call__(self, x0: Tensor, cond: Any = None) -> Tensor:
        """Return -Q(s, a), shape (B,)."""
        return -self.critic.q(cond["state"], x0.clamp(-1, 1))


class SafetyEnergy(Energy):
    """Ranks scaled actions (B, A): the admissible by Q, all others after them by Q_h.

    An action is admissible where Q_h <= threshold; for a threshold of None, none is. In double
    precision, as the two kinds are a constant apart.
    """

    BEHIND = 1e9  # far more than any value

    def __init__(self, safety: SafeCritics, threshold: float | None) -> None:
        self.safety = safety
        self.threshold = -inf if threshold is None else threshold

    def __call__(self, x0: Tensor, cond: Any = None) -> Tensor:
        """Return the ranks, lowest first, shape (B,), float64."""
        q, q_h = self.safety.judge(cond["state"], x0.clamp(-1, 1))
        return torch.where(q_h <= self.threshold, -q.double(), self.BEHIND + q_h.double())


def standard_stack(
    policy: "DiffusionPolicy", scale: float | Tensor | None = None
) -> Sampler | BestOfN:
    """Return the policy's guidance by name, CEP at a scale around it, the best of its candidates.

    Each may be off.

    The best is that of the largest Q, or, where the policy knows what is feasible, the safest or
    the best of the admissible: see ``Sampling.threshold``.

    Args:
        policy: whose networks and ``sampling`` are used.
        scale: a number or one per observation (N,); None is that of ``sampling``. The energy is
            needed, and called, where one is not 0.

    Raises:
        ValueError: where a network that is asked for was not trained.
    """
    scale = policy.sampling.scale if scale is None else scale
    energy = None
    if scale.any() if isinstance(scale, Tensor) else scale != 0:
        energy = policy.energy
        if energy is None:
            raise ValueError("this policy has no energy; train one, or give scale=0")

    def plain(denoiser: Denoiser) -> Sampler:
        return DPMpp2M(denoiser if energy is None else CEP(denoiser, energy, scale))

    sampler = policy.named.sampler(parts(policy, plain))
    if policy.sampling.candidates == 1:
        return sampler
    return BestOfN(sampler, _choice(policy), policy.sampling.candidates)


def _choice(policy: "DiffusionPolicy") -> Energy:
    networks = policy.networks
    if networks.safety is not None:
        return SafetyEnergy(networks.safety, policy.sampling.threshold)
    if networks.critic is None:
        raise ValueError("this policy has no critic to pick by; train one, or give candidates=1")
    return CriticEnergy(networks.critic)
