r"""Acting as FISOR's original does, and acting as we do without what we save.

The original's network embeds observation and time again for all N candidates in every one of its
five steps, which are those of DDPM: with :math:`\beta_k` of the variance-preserving schedule,

.. math:: x \leftarrow \mathrm{clip}\Bigl(\bigl(x - \tfrac{\beta_k}{\sqrt{1 - \bar\alpha_k}}
    \epsilon_\theta\bigr) / \sqrt{1 - \beta_k} + \sqrt{\beta_k}\, z\Bigr),

with no noise z in the last. Then the candidate of the least Q_h is taken.

Source: Zheng et al., 2024, FISOR, https://arxiv.org/abs/2401.10700, and its code for the sizes.
Differs: dropout, which does nothing when acting, is left out.
"""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import mish

from domains.rl.bench.separate import SeparateCritics
from domains.rl.policy import DiffusionPolicy
from domains.rl.stack import SafetyEnergy
from guided.denoiser import NetDenoiser
from guided.guidance import BestOfN
from guided.rng import Rng, initial_weights
from guided.samplers import DPMpp2M
from guided.schedule import Level

SEED = 0  # of the untrained weights, which only take time
STEPS, LEAST_BETA, MOST_BETA = 5, 0.1, 10.0
WIDTH, WIDER, BLOCKS = 256, 1024, 3
TIME, FOURIER = 128, 64


def betas() -> list[float]:
    """Return the variances of the steps, first the one next to the data."""
    spread = MOST_BETA - LEAST_BETA
    slope = [
        LEAST_BETA / STEPS + spread * (2 * k - 1) / (2 * STEPS**2) for k in range(1, STEPS + 1)
    ]
    return [1 - math.exp(-s) for s in slope]


class OriginalActor(nn.Module):
    """Noise of actions (B, A), given states (B, S) and numbers of steps (B,).

    Args:
        states: numbers in a state.
        actions: numbers in an action.
    """

    def __init__(self, states: int, actions: int) -> None:
        super().__init__()
        self.frequencies = nn.Parameter(0.2 * torch.randn(FOURIER // 2))
        self.time = nn.Sequential(nn.Linear(FOURIER, TIME), nn.Mish(), nn.Linear(TIME, TIME))
        self.inlet = nn.Linear(actions + states + TIME, WIDTH)
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(BLOCKS))
        self.first = nn.ModuleList(nn.Linear(WIDTH, WIDER) for _ in range(BLOCKS))
        self.second = nn.ModuleList(nn.Linear(WIDER, WIDTH) for _ in range(BLOCKS))
        self.outlet = nn.Linear(WIDTH, actions)

    def forward(self, x: Tensor, states: Tensor, step: Tensor) -> Tensor:
        """Return the noise."""
        angle = 2 * math.pi * step[:, None] * self.frequencies
        time = self.time(torch.cat([angle.cos(), angle.sin()], -1))
        h = self.inlet(torch.cat([x, states, time], -1))
        for norm, first, second in zip(self.norms, self.first, self.second, strict=True):
            h = h + second(mish(first(norm(h))))
        return self.outlet(mish(h))


class OriginalActing:
    """Acts by an untrained original network and separate critics.

    Args:
        policy: whose normalisation, critics and number of candidates are used.
    """

    def __init__(self, policy: DiffusionPolicy) -> None:
        assert policy.networks.safety is not None
        self.normaliser, self.count = policy.networks.normaliser, policy.sampling.candidates
        self.critics = SeparateCritics(policy.networks.safety)
        with initial_weights(SEED):
            self.actor = OriginalActor(len(self.normaliser.mean), len(self.normaliser.low))
        self.betas = torch.tensor(betas())
        self.kept = (1 - self.betas).cumprod(0)

    @torch.inference_mode()
    def act(self, obs: NDArray[np.float32], rng: Rng) -> NDArray[np.float32]:
        """Return actions (N, A) for observations (N, S)."""
        states = self.normaliser.states(torch.from_numpy(obs)).repeat_interleave(self.count, 0)
        shape = len(states), len(self.normaliser.low)
        x = rng.normal(shape)
        for k in reversed(range(STEPS)):
            eps = self.actor(x, states, torch.full((len(x),), float(k)))
            beta, kept = self.betas[k], self.kept[k]
            x = (x - beta / (1 - kept).sqrt() * eps) / (1 - beta).sqrt()
            if k:
                x = x + beta.sqrt() * rng.normal(shape)
            x = x.clamp(-1, 1)
        _, q_h = self.critics.slow_values(states, x)
        rows = x.unflatten(0, (len(obs), self.count))
        best = rows[torch.arange(len(obs)), q_h.reshape(len(obs), self.count).argmin(1)]
        return self.normaliser.actions_back(best).numpy()


class Unhoisted(NetDenoiser):
    """Our denoiser, which embeds states and time in every call."""

    def output(self, x: Tensor, level: Level, cond: Any = None, control: Any = None) -> Tensor:
        """Call the whole network on x (B, A) and the cond's ``state`` (B, S)."""
        return super().output(x, level, cond["state"], control)


class UnhoistedActing:
    """Acts as a policy does, number by number, but embeds states and time in every call.

    Args:
        policy: whose networks, grid and candidates are used.
    """

    def __init__(self, policy: DiffusionPolicy) -> None:
        own, sampling = policy.networks, policy.sampling
        assert own.safety is not None
        self.normaliser, self.times = own.normaliser, policy.times
        denoiser = Unhoisted(own.behaviour.net, own.behaviour.schedule, own.behaviour.prediction)
        energy = SafetyEnergy(own.safety, sampling.threshold)
        self.sampler = BestOfN(DPMpp2M(denoiser), energy, sampling.candidates)

    @torch.inference_mode()
    def act(self, obs: NDArray[np.float32], rng: Rng) -> NDArray[np.float32]:
        """Return actions (N, A) for observations (N, S)."""
        state = self.normaliser.states(torch.from_numpy(obs))
        shape = len(state), len(self.normaliser.low)
        noise = self.sampler.sampler.initial(shape, self.times, rng)
        x0 = self.sampler.sample(noise, self.times, {"state": state}, rng=rng).clamp(-1, 1)
        return self.normaliser.actions_back(x0).numpy()
