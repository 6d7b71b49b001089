r"""Noise-aware energies that are used in place of the exact one, in closed form.

The exact energy is :math:`-\log E[e^{-E(x_0)} | x_t]`. For a quadratic energy and a mixture the two
rivals below are known too, so that what they do to samples is no matter of training.
"""

from typing import Any

from torch import Tensor

from guided.exact import Mixture, QuadraticEnergy
from guided.schedule import Level


class MeanEnergy:
    r""":math:`E[E(x_0) | x_t]`: what a regression of the energy on noisy samples learns.

    Args:
        prior: the law of x0, over vectors.
        energy: of x0.
    """

    differentiable = True

    def __init__(self, prior: Mixture, energy: QuadraticEnergy) -> None:
        self.prior, self.energy = prior, energy

    def __call__(self, x: Tensor, level: Level, cond: Any = None) -> Tensor:
        """Return the energy of x_t (B, D), shape (B,); cond is not used."""
        law = self.prior.conditional(x, level)
        spread = (self.energy.Q.to(x) * law.cov().to(x)).sum((1, 2))
        return self.energy(law.mean().to(x)) + 0.5 * spread


class PointEnergy:
    r""":math:`E(E[x_0 | x_t])`: the energy of the clean estimate, as diffusion posterior sampling.

    Args:
        prior: the law of x0.
        energy: of x0.
    """

    differentiable = True

    def __init__(self, prior: Mixture, energy: QuadraticEnergy) -> None:
        self.prior, self.energy = prior, energy

    def __call__(self, x: Tensor, level: Level, cond: Any = None) -> Tensor:
        """Return the energy of x_t (B, *shape), shape (B,); cond is not used."""
        return self.energy(self.prior.denoise(x, level).to(x))
