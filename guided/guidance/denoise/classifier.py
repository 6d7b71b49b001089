r"""Classifier guidance: the gradient of a noise-aware energy moves the score."""

from typing import Any, Protocol

from torch import Tensor

from guided.denoiser import Denoiser, DenoiserWrapper, Prediction
from guided.energy import gradient, require_differentiable
from guided.schedule import Level


class NoisyEnergy(Protocol):
    r"""An energy of noisy samples: (x_t (B, ...), level, cond) -> (B,).

    Guidance is exact with :math:`E_t(x_t) = -\log E[\exp(-E(x_0)) | x_t]`. For a classifier this is
    :math:`-\log p(y | x_t, t)`.
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
        scale: w; 0 is neutral and takes no gradient. w multiplies the gradient, which for w other
            than 1 does not sample p(x0) exp(-w E).

    Raises:
        TypeError: for an energy that is not differentiable.
        ValueError: at alpha = 0, where x_t carries no information and the shift is 0 / 0.

    Source: Dhariwal & Nichol 2021, Diffusion models beat GANs, algorithm 2.
    """

    def __init__(self, denoiser: Denoiser, energy: NoisyEnergy, scale: float = 1.0) -> None:
        super().__init__(denoiser)
        require_differentiable(energy, "ClassifierGuidance")
        self.energy = energy
        self.scale = scale

    def forward(self, x: Tensor, level: Level, cond: Any = None) -> Prediction:
        """Return the guided prediction."""
        prediction = self.denoiser(x, level, cond)
        if self.scale == 0:
            return prediction
        if level.alpha == 0:
            raise ValueError(
                "ClassifierGuidance is not defined at alpha = 0 (pure noise); start the time grid "
                "below 1, e.g. uniform(steps, start=0.999)"
            )
        _, slope = gradient(lambda y: self.energy(y, level, cond), x)
        shift = self.scale * level.sigma
        return Prediction(
            prediction.x0 - (shift * level.sigma / level.alpha) * slope,
            prediction.eps + shift * slope,
        )
