r"""Costs that are squares: :math:`E(p) = |r(p)|^2` with a misfit r that is affine in positions.

Their gradient is a product of matrices, and needs no autograd.
"""

from abc import abstractmethod
from collections.abc import Callable
from math import sqrt

import torch
from torch import Tensor

from domains.trajectory.costs.cost import Cost
from guided.energy import Energy, WeightedSum

Misfit = Callable[[Tensor], Tensor]


class Quadratic(Cost):
    """A cost that is the squared length of its misfit."""

    @abstractmethod
    def misfit(self, p: Tensor) -> Tensor:
        """Return r, (R, m), of futures (R, A, F, 2); affine in them."""


def misfit_of(energy: Energy) -> Misfit | None:
    """Return the misfit of an energy that is a square, or a weighted sum of squares; else None."""
    if isinstance(energy, Quadratic):
        return energy.misfit
    if not isinstance(energy, WeightedSum) or min(energy.weights.values()) < 0:
        return None
    terms: list[tuple[float, Misfit]] = []
    for name, term in energy.terms.items():
        misfit = misfit_of(term)
        if misfit is None:
            return None
        terms.append((sqrt(energy.weights[name]), misfit))
    return lambda p: torch.cat([root * misfit(p) for root, misfit in terms], dim=1)
