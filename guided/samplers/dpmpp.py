r"""DPM-Solver++ (2M): second order with one network call a step."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from guided.denoiser import Prediction
from guided.rng import Rng
from guided.sampler import Gaussian, Sampler, State
from guided.samplers.ddim import ddim_kernel
from guided.schedule import Level


class Previous(NamedTuple):
    """What the sampler remembers: the last clean estimate (B, ...) and its log-SNR."""

    x0: Tensor
    log_snr: float


class DPMpp2M(Sampler):
    r"""Multistep data-prediction solver; the previous x0 is its memory.

    With :math:`\lambda = \log(\alpha / \sigma)`, :math:`h = \lambda_s - \lambda_t` and the previous
    step :math:`h' = \lambda_t - \lambda_r`,

    .. math::
        D   &= x_0(t) + \frac{h}{2 h'} (x_0(t) - x_0(r)), \\
        x_s &= \frac{\sigma_s}{\sigma_t} x_t - \alpha_s (e^{-h} - 1) D.

    The first step, a step from pure noise and the last one (to sigma = 0) are first order.

    Source: Lu et al. 2022, DPM-Solver++, algorithm 2.
    """

    order = 2

    def kernel(self, prediction: Prediction, t: Level, s: Level) -> Gaussian:
        """Return the (deterministic) first-order step."""
        return ddim_kernel(prediction, t, s)

    def step(self, state: State, t: Level, s: Level, cond: Any, rng: Rng) -> State:
        """Move from t to s, using the previous step's estimate."""
        here = self.predict(state, t, cond)
        memory = Previous(here.x0, _log_snr(t))
        before: Previous | None = state.memory
        if before is None or s.sigma == 0 or math.isinf(before.log_snr):
            return State(self.kernel(here, t, s).mean, memory=memory)
        h = _log_snr(s) - memory.log_snr
        weight = h / (2 * (memory.log_snr - before.log_snr))
        estimate = torch.lerp(before.x0, here.x0, 1 + weight)
        x = torch.add(state.x * (s.sigma / t.sigma), estimate, alpha=-s.alpha * math.expm1(-h))
        return State(x, memory=memory)


def _log_snr(level: Level) -> float:
    return math.log(level.alpha / level.sigma) if level.alpha > 0 else -math.inf
