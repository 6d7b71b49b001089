r"""Energies whose tilted law :math:`p(x_0) \exp(-E(x_0)) / Z` is a mixture again.

Each has its noise-aware energy in closed form at every level,

.. math:: E_t(x_t) = -\log E[\exp(-E(x_0)) \mid x_t] = \log p_t(x_t) - \log q_t(x_t) - \log Z,

where q is the tilted law and the index t means noised. The identity holds since
:math:`q(x_0) Z = p(x_0) \exp(-E(x_0))` is noised by the same kernel.
"""

from typing import TYPE_CHECKING, Any

from torch import Tensor

from guided.energy import Energy
from guided.exact.covariance import matrix
from guided.exact.denoiser import check_classes
from guided.schedule import Level

if TYPE_CHECKING:
    from guided.exact.mixture import Mixture


class LinearEnergy(Energy):
    r""":math:`E(x) = l \cdot x`.

    Args:
        l: a tensor of the sample's shape.
    """

    def __init__(self, l: Tensor) -> None:  # noqa: E741 (the symbol of the formula)
        self.l = l

    def __call__(self, x0: Tensor, cond: Any = None) -> Tensor:
        """Return the energy of x0 (B, *shape), shape (B,)."""
        return (x0 * self.l).flatten(1).sum(1)

    def tilt(self, mixture: "Mixture") -> tuple["Mixture", Tensor]:
        """Return the tilted law and log Z."""
        return mixture.tilted_linear(self.l)


class QuadraticEnergy(Energy):
    r""":math:`E(x) = \tfrac12 (x - b)^T Q (x - b)`.

    Args:
        Q: a number, a diagonal of the sample's shape, or a matrix (D, D) over the flattened sample;
            symmetric, eigenvalues at least 0.
        b: a tensor of the sample's shape.

    Raises:
        ValueError: for another Q.
    """

    def __init__(self, Q: Tensor | float, b: Tensor) -> None:
        self.Q = matrix(Q, b)
        self.b = b

    def __call__(self, x0: Tensor, cond: Any = None) -> Tensor:
        """Return the energy of x0 (B, *shape), shape (B,)."""
        offset = (x0 - self.b).flatten(1)
        return 0.5 * ((offset @ self.Q.to(offset)) * offset).sum(1)

    def tilt(self, mixture: "Mixture") -> tuple["Mixture", Tensor]:
        """Return the tilted law and log Z."""
        return mixture.tilted_quadratic(self.Q, self.b)


class ExactNoisyEnergy:
    r""":math:`E_t(x_t) = -\log E[\exp(-E(x_0)) | x_t]`, differentiable by autograd.

    Classifier guidance with it and scale 1 samples the tilted law.

    Args:
        prior: the law p.
        tilted: the law proportional to p exp(-E).
        log_normaliser: log Z, shape () or one per row of the tilted law.
    """

    differentiable = True

    def __init__(self, prior: "Mixture", tilted: "Mixture", log_normaliser: Tensor) -> None:
        self.prior = prior
        self.tilted = tilted
        self.log_normaliser = log_normaliser

    def __call__(self, x: Tensor, level: Level, cond: Any = None) -> Tensor:
        """Return the energy of x_t (B, *shape), shape (B,); cond is not used."""
        prior, tilted = self.prior.noised(level), self.tilted.noised(level)
        return prior.log_prob(x) - tilted.log_prob(x) - self.log_normaliser


class ExactClassEnergy:
    r"""The exact noise-aware classifier, :math:`E_t(x_t) = -\log p(c | x_t)` with labels c = cond.

    Args:
        mixture: the law p.
        classes: the label of every component, shape (K,).

    Raises:
        ValueError: for classes of another shape.
    """

    differentiable = True

    def __init__(self, mixture: "Mixture", classes: Tensor) -> None:
        check_classes(classes, mixture)
        self.mixture = mixture
        self.classes = classes

    def __call__(self, x: Tensor, level: Level, cond: Any = None) -> Tensor:
        """Return the energy of x_t (B, *shape) with labels cond (B,), shape (B,).

        Raises:
            ValueError: without labels, or for a label that no component has.
        """
        if cond is None:
            raise ValueError("a class energy needs labels (B,) as cond, got None")
        selected, log_mass = self.mixture.select(self.classes == cond[:, None])
        return ExactNoisyEnergy(self.mixture, selected, log_mass)(x, level)
