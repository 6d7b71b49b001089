r"""DDIM, and DDPM as its stochastic end."""

import math
from typing import Any, Literal

import torch

from guided.denoiser import Denoiser, Prediction
from guided.sampler import Gaussian, Sampler
from guided.schedule import Level

Variance = Literal["posterior", "fixed_large"]


def ddim_kernel(
    prediction: Prediction, t: Level, s: Level, eta: float = 0.0, variance: Variance = "posterior"
) -> Gaussian:
    """Return the law of x_s of :class:`DDIM`; with eta = 0, one Euler step of the flow."""
    _, alpha_t, sigma_t = t
    _, alpha_s, sigma_s = s
    forward = math.sqrt(max(sigma_t**2 - (alpha_t / alpha_s) ** 2 * sigma_s**2, 0.0))
    std = eta * forward * sigma_s / sigma_t
    direction = math.sqrt(max(sigma_s**2 - std**2, 0.0))
    mean = torch.add(prediction.x0 * alpha_s, prediction.eps, alpha=direction)
    if variance == "fixed_large" and sigma_s > 0:
        std = eta * forward
    return Gaussian(mean, std)


class DDIM(Sampler):
    r"""The generalised reverse step for any alpha, sigma.

    .. math::
        \tilde\sigma &= \eta\, \frac{\sigma_s}{\sigma_t}
            \sqrt{\sigma_t^2 - (\alpha_t / \alpha_s)^2 \sigma_s^2}, \\
        x_s &= \alpha_s x_0 + \sqrt{\sigma_s^2 - \tilde\sigma^2}\, \varepsilon + \tilde\sigma z.

    Args:
        denoiser: the innermost function.
        eta: 0 is deterministic (the probability flow), 1 is ancestral sampling (DDPM).
        variance: of the noise z. ``posterior`` uses the variance above; ``fixed_large`` keeps the
            mean and draws with the forward variance
            :math:`\eta^2 (\sigma_t^2 - (\alpha_t / \alpha_s)^2 \sigma_s^2)` instead (beta_t of
            DDPM), with no noise in the step to data.

    Raises:
        ValueError: for eta outside [0, 1] or an unknown variance.

    Source: Song et al. 2021, DDIM, eq. 12 and 16; Ho et al. 2020, section 3.2 for both variances.
    """

    order = 1

    def __init__(
        self, denoiser: Denoiser, eta: float = 0.0, variance: Variance = "posterior"
    ) -> None:
        super().__init__(denoiser)
        if not 0 <= eta <= 1:
            raise ValueError(f"eta is 0 (deterministic) to 1 (ancestral), got {eta}")
        if variance not in ("posterior", "fixed_large"):
            raise ValueError(f"variance is 'posterior' or 'fixed_large', got {variance!r}")
        self.eta = eta
        self.variance = variance
        self.stochastic = eta > 0

    def kernel(self, prediction: Prediction, t: Level, s: Level, memory: Any = None) -> Gaussian:
        """Return the law of x_s; its mean is one fused multiply-add."""
        return ddim_kernel(prediction, t, s, self.eta, self.variance)


def DDPM(denoiser: Denoiser, variance: Variance = "posterior") -> DDIM:
    """Return ancestral sampling: :class:`DDIM` with eta = 1."""
    return DDIM(denoiser, eta=1.0, variance=variance)
