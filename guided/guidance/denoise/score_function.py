r"""Score guidance through the network: the energy of the clean estimate, differentiated in x_t."""

import math
from typing import Any

import torch
from torch import Tensor

from guided.denoiser import Denoiser, DenoiserWrapper, Prediction
from guided.energy import Energy, require_differentiable
from guided.guidance.clip import clipped, require_clip
from guided.operator import Operator, as_energy
from guided.schedule import Level


class ScoreFunction(DenoiserWrapper):
    r"""Adds the gradient of E(x0(x_t)) to the score and keeps x0 and eps consistent.

    .. math:: g = \mathrm{clip}\big(w \nabla_{x_t} E(x_0(x_t)), -\tau, \tau\big), \qquad
              \hat\varepsilon = \varepsilon + \sigma_t g, \qquad
              \hat x_0 = x_0 - \frac{\sigma_t^2}{\alpha_t} g.

    E(x0(x_t)) stands in for the exact :math:`-\log E[e^{-E(x_0)} \mid x_t]`. It takes the clean
    estimate for the sample, so that w = 1 guides too much where noise is high, and no w samples the
    posterior. It is exact for a linear energy of a Gaussian prior.

    Costs one vector-Jacobian product of the network and one gradient of the energy a call.

    Args:
        denoiser: the model.
        energy: differentiable, of clean samples; or an operator, whose energy is its likelihood.
        scale: w; 0 is neutral and takes no gradient.
        clip: tau, the largest entry of w times the gradient; inf is no bound.

    Raises:
        TypeError: for an energy that is a black box.
        ValueError: for a clip that is not positive; at alpha = 0, where x_t carries no information.

    Source: Chung et al. 2023, Diffusion posterior sampling for general noisy inverse problems,
        section 3.2; Yu et al. 2023, FreeDoM, training-free energy-guided conditional diffusion.
    Differs: the energy's own gradient, where DPS divides by the norm of the misfit.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        energy: Energy | Operator,
        scale: float = 1.0,
        clip: float = math.inf,
    ) -> None:
        super().__init__(denoiser)
        require_differentiable(energy, "ScoreFunction")
        require_clip(clip, "ScoreFunction")
        self.energy = as_energy(energy)
        self.scale, self.clip = scale, clip

    def forward(self, x: Tensor, level: Level, cond: Any = None) -> Prediction:
        """Return the guided prediction."""
        if self.scale == 0:
            return self.denoiser(x, level, cond)
        if level.alpha == 0:
            raise ValueError(
                "ScoreFunction is not defined at alpha = 0 (pure noise); start the time grid below "
                "1, e.g. uniform(steps, start=0.999)"
            )
        with torch.enable_grad():
            y = x.detach().requires_grad_()
            x0, eps = self.denoiser(y, level, cond)
            (slope,) = torch.autograd.grad(self.energy(x0, cond).sum(), y)
        push = clipped(self.scale * slope, self.clip)
        return Prediction(
            torch.sub(x0.detach(), push, alpha=level.sigma**2 / level.alpha),
            torch.add(eps.detach(), push, alpha=level.sigma),
        )
