r"""Classifier guidance: the gradient of a noise-aware energy moves the score."""

from typing import Any, Protocol

import torch
from torch import Tensor

from guided.denoiser import Denoiser, DenoiserWrapper, Prediction
from guided.energy import gradient, require_differentiable
from guided.guidance.scale import of_requests, per_row
from guided.schedule import Level


class NoisyEnergy(Protocol):
    r"""An energy of noisy samples: (x_t (B, ...), level, cond) -> (B,).

    Guidance is exact with :math:`E_t(x_t) = -\log E[\exp(-E(x_0)) | x_t]`. For a classifier this is
    :math:`-\log p(y | x_t, t)`. One that knows its gradient better than autograd has a method
    ``slope`` with the same arguments, which returns it, (B, ...).
    """

    differentiable: bool

    def __call__(self, x: Tensor, level: Level, cond: Any = None) -> Tensor:
        """Return the energy of every sample, shape (B,)."""
        ...


class ClassifierGuidance(DenoiserWrapper):
    r"""Adds the energy's gradient to the score and keeps x0 and eps consistent.

    .. math:: \hat\varepsilon = \varepsilon + w \sigma_t \nabla E_t(x_t), \qquad
              \hat x_0 = x_0 - w \frac{\sigma_t^2}{\alpha_t} \nabla E_t(x_t).

    Costs one gradient of the energy a call; none passes through the denoiser.

    Args:
        denoiser: the model of p(x0).
        energy: noise-aware and differentiable.
        scale: w, a number or one per request (R,), each serving B / R rows side by side; 0 is
            neutral and takes no gradient. w multiplies the gradient, which for w other than 1 does
            not sample p(x0) exp(-w E).

    Raises:
        TypeError: for an energy that is not differentiable.
        ValueError: at alpha = 0, where x_t carries no information and the shift is 0 / 0; for a
            scale per request that does not divide the batch.

    Source: Dhariwal & Nichol 2021, Diffusion models beat GANs, algorithm 2.
    """

    def __init__(
        self, denoiser: Denoiser, energy: NoisyEnergy, scale: float | Tensor = 1.0
    ) -> None:
        super().__init__(denoiser)
        require_differentiable(energy, type(self).__name__)
        self.energy = energy
        self.scale = scale

    @property
    def of_requests(self) -> bool:
        """Return whether the scale is per request."""
        return of_requests(self.scale)

    def forward(self, x: Tensor, level: Level, cond: Any = None) -> Prediction:
        """Return the guided prediction."""
        prediction = self.denoiser(x, level, cond)
        if not isinstance(self.scale, Tensor) and self.scale == 0:
            return prediction
        if level.alpha == 0:
            raise ValueError(
                f"{type(self).__name__} is not defined at alpha = 0 (pure noise); start the time "
                f"grid below 1, e.g. uniform(steps, start=0.999)"
            )
        slope = self._slope(x, level, cond)
        shift = level.sigma
        if isinstance(self.scale, Tensor):
            slope = slope * per_row(self.scale, x)
        else:
            shift = self.scale * shift
        return Prediction(
            torch.sub(prediction.x0, slope, alpha=shift * level.sigma / level.alpha),
            torch.add(prediction.eps, slope, alpha=shift),
        )

    def _slope(self, x: Tensor, level: Level, cond: Any) -> Tensor:
        if hasattr(self.energy, "slope"):
            return self.energy.slope(x, level, cond)
        return gradient(lambda y: self.energy(y, level, cond), x)[1]
