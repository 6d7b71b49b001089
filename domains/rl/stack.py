"""What guides a policy: the sampler built from its networks."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor

from domains.rl.critics.critic import Critic
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


def standard_stack(
    policy: "DiffusionPolicy", scale: float | Tensor | None = None
) -> Sampler | BestOfN:
    """Return CEP at a scale, then the best of the policy's candidates by Q; either may be off.

    Args:
        policy: whose networks and ``sampling`` are used.
        scale: a number or one per observation (N,); None is that of ``sampling``. The energy is
            needed, and called, where one is not 0.

    Raises:
        ValueError: where a network that is asked for was not trained.
    """
    scale = policy.sampling.scale if scale is None else scale
    denoiser: Denoiser = policy.denoiser
    if scale.any() if isinstance(scale, Tensor) else scale != 0:
        if policy.energy is None:
            raise ValueError("this policy has no energy; train one, or give scale=0")
        denoiser = CEP(denoiser, policy.energy, scale)
    sampler = DPMpp2M(denoiser)
    if policy.sampling.candidates == 1:
        return sampler
    if policy.networks.critic is None:
        raise ValueError("this policy has no critic to pick by; train one, or give candidates=1")
    return BestOfN(sampler, CriticEnergy(policy.networks.critic), policy.sampling.candidates)
