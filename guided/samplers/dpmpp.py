r"""DPM-Solver++ (2M), deterministic or stochastic: second order with one network call a step."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from guided.denoiser import Denoiser, Prediction
from guided.sampler import Gaussian, Sampler
from guided.samplers.ddim import ddim_kernel
from guided.schedule import Level


class Previous(NamedTuple):
    """What the sampler remembers: the last clean estimate (B, ...) and its log-SNR."""

    x0: Tensor
    log_snr: float


class DPMpp2M(Sampler):
    r"""Multistep data-prediction solver: DDIM's step, with x0 extrapolated to the step's middle.

    With :math:`\lambda = \log(\alpha / \sigma)`, :math:`h = \lambda_s - \lambda_t`, the previous
    step :math:`h' = \lambda_t - \lambda_r` and DDIM's noise :math:`\tilde\sigma` of the same eta,

    .. math::
        D   &= x_0(t) + \frac{h}{2 h'} (x_0(t) - x_0(r)), \qquad
        c    = \sqrt{\sigma_s^2 - \tilde\sigma^2} / \sigma_t, \\
        x_s &= c\, x_t + (\alpha_s - c\, \alpha_t) D + \tilde\sigma z.

    The first step, a step from pure noise and the last one (to sigma = 0) are first order.

    Args:
        denoiser: the innermost function.
        eta: 0 is the probability flow, 1 the reverse SDE, which draws from p(x0 | x_t).

    Raises:
        ValueError: for eta outside [0, 1].

    Source: Lu et al. 2022, DPM-Solver++, algorithm 2 (eta = 0) and appendix D (SDE, eta = 1).
    Differs: between 0 and 1, eta scales the noise as it does in DDIM.
    """

    order = 2

    def __init__(self, denoiser: Denoiser, eta: float = 0.0) -> None:
        super().__init__(denoiser)
        if not 0 <= eta <= 1:
            raise ValueError(f"eta is 0 (deterministic) to 1 (the reverse SDE), got {eta}")
        self.eta = eta
        self.stochastic = eta > 0

    def kernel(self, prediction: Prediction, t: Level, s: Level, memory: Any = None) -> Gaussian:
        """Return the law of x_s; of first order without a memory."""
        first = ddim_kernel(prediction, t, s, self.eta)
        before: Previous | None = memory
        if before is None or s.sigma == 0 or math.isinf(before.log_snr):
            return first
        here = _log_snr(t)
        kept = math.sqrt(max(s.sigma**2 - first.std**2, 0.0)) / t.sigma
        extrapolated = (_log_snr(s) - here) / (2 * (here - before.log_snr))
        weight = (s.alpha - kept * t.alpha) * extrapolated
        mean = torch.add(first.mean, prediction.x0, alpha=weight)
        return Gaussian(torch.sub(mean, before.x0, alpha=weight), first.std)

    def remember(self, prediction: Prediction, t: Level) -> Previous:
        """Return what the next step needs to know of this one."""
        return Previous(prediction.x0, _log_snr(t))


def _log_snr(level: Level) -> float:
    return math.log(level.alpha / level.sigma) if level.alpha > 0 else -math.inf
