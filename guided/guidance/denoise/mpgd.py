r"""Manifold preserving guidance: a gradient step on the clean estimate, not through the network."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from guided.denoiser import Denoiser, DenoiserWrapper, Prediction
from guided.energy import Energy, require_differentiable
from guided.operator import Operator, as_energy
from guided.schedule import Level


class MPGD(DenoiserWrapper):
    r"""Moves the clean estimate down the energy, and keeps the network's eps.

    .. math:: \hat x_0 = P\big(x_0 - w \nabla E(x_0)\big), \qquad \hat\varepsilon = \varepsilon.

    The pair is not consistent: alpha x0 + sigma eps is no longer x_t. So it optimises within what
    the network believes, and samples no posterior: for a Gaussian prior and a quadratic energy, the
    scale that gives the right mean gives about a third of the variance. Every step moves anew, so
    that the same scale guides the more the more steps a run has.

    Costs one gradient of the energy a call; none passes through the denoiser.

    Args:
        denoiser: the model.
        energy: differentiable, of clean samples; or an operator, whose energy is its likelihood.
        scale: w, the length of the step for a gradient of 1; 0 is neutral, takes no gradient and
            projects nothing.
        project: P, maps (B, ...) to the nearest plausible samples (B, ...), e.g. there and back
            through an autoencoder or principal components; None is the identity.

    Raises:
        TypeError: for an energy that is a black box.

    Source: He et al. 2024, Manifold preserving guided diffusion.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        energy: Energy | Operator,
        scale: float = 1.0,
        project: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(denoiser)
        require_differentiable(energy, type(self).__name__)
        self.energy = as_energy(energy)
        self.scale, self.project = scale, project

    def forward(self, x: Tensor, level: Level, cond: Any = None) -> Prediction:
        """Return the prediction with a better clean estimate."""
        found = self.denoiser(x, level, cond)
        return Prediction(self.improved(found.x0, cond), found.eps)

    def improved(self, x0: Tensor, cond: Any = None) -> Tensor:
        """Return clean samples (B, ...) after one step down the energy."""
        if self.scale == 0:
            return x0
        moved = x0 - self.move(self.energy.slope(x0, cond))
        return moved if self.project is None else self.project(moved)

    def move(self, slope: Tensor) -> Tensor:
        """Return what to take off the clean estimate for a gradient (B, ...)."""
        return self.scale * slope
