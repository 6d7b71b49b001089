r"""Energies: what a sample has to obey, one number per sample, lower is better.

The target of every method is :math:`p(x_0) \exp(-E(x_0))`. An energy is pure, returns shape (B,)
and never averages over the batch. ``differentiable`` says whether autograd may pass through it;
gradient methods refuse a black box when they are built, in words.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor


class Energy(ABC):
    """A map (x0 of shape (B, ...), cond) -> (B,).

    Attributes:
        differentiable: whether autograd may pass through it.
        least: the energy of a perfect sample, from which a misfit is counted.
    """

    differentiable: bool = True
    least: float = 0.0

    @abstractmethod
    def __call__(self, x0: Any, cond: Any = None) -> Tensor:
        """Return the energy of every sample, shape (B,)."""

    def slope(self, x0: Tensor, cond: Any = None) -> Tensor:
        """Return the gradient of every sample's energy, (B, ...).

        Autograd finds it; an energy that knows its gradient in a cheaper way has its own.
        """
        return gradient(lambda y: self(y, cond), x0)[1]


class FunctionEnergy(Energy):
    """Any torch function of x0 as an energy.

    Args:
        function: maps (B, ...) to (B,).
        differentiable: False for a function that gradients do not pass through.
    """

    def __init__(self, function: Callable[[Any], Tensor], differentiable: bool = True) -> None:
        self.function = function
        self.differentiable = differentiable

    def __call__(self, x0: Any, cond: Any = None) -> Tensor:
        """Return ``function(x0)``.

        Raises:
            ValueError: if the result is not one number per sample.
        """
        energy = self.function(x0)
        if energy.ndim != 1 or (isinstance(x0, Tensor) and len(energy) != len(x0)):
            raise ValueError(
                f"an energy returns one number per sample, shape (B,), got {tuple(energy.shape)};"
                f" reduce over all axes but the first"
            )
        return energy


class WeightedSum(Energy):
    r""":math:`E = \sum_i w_i E_i`, with a report per term.

    Args:
        terms: named energies.
        weights: a weight per name; missing ones are 1. A weight of 0 skips its term.

    Raises:
        ValueError: for no terms, or a weight whose name is no term.
    """

    def __init__(
        self, terms: Mapping[str, Energy], weights: Mapping[str, float] | None = None
    ) -> None:
        weights = dict(weights or {})
        unknown = set(weights) - set(terms)
        if not terms or unknown:
            raise ValueError(
                f"a weighted sum needs terms and weights for them alone, got terms "
                f"{list(terms)} and weights for {sorted(weights)}"
            )
        self.terms = dict(terms)
        self.weights = {name: float(weights.get(name, 1.0)) for name in terms}
        self.differentiable = all(term.differentiable for term in terms.values())
        self.least = sum(self.weights[name] * term.least for name, term in terms.items())

    def __call__(self, x0: Any, cond: Any = None) -> Tensor:
        """Return the weighted sum, shape (B,)."""
        active = [n for n in self.terms if self.weights[n] != 0] or list(self.terms)[:1]
        total = self.weights[active[0]] * self.terms[active[0]](x0, cond)
        for name in active[1:]:
            total = total + self.weights[name] * self.terms[name](x0, cond)
        return total

    def report(self, x0: Any, cond: Any = None) -> dict[str, Tensor]:
        """Return the unweighted value of every term, each of shape (B,)."""
        return {name: term(x0, cond) for name, term in self.terms.items()}


class Decoded(Energy):
    """An energy of ``decode(x0)``: a latent, scaled or one-hot sample scored in its own domain.

    Args:
        energy: reads what ``decode`` returns.
        decode: maps x0 to the domain; called once for all candidates.
        differentiable: whether gradients pass through ``decode``.
    """

    def __init__(
        self, energy: Energy, decode: Callable[[Tensor], Any], differentiable: bool = True
    ) -> None:
        self.energy = energy
        self.decode = decode
        self.differentiable = differentiable and energy.differentiable
        self.least = energy.least

    def __call__(self, x0: Tensor, cond: Any = None) -> Tensor:
        """Return ``energy(decode(x0))``, shape (B,)."""
        return self.energy(self.decode(x0), cond)

    def report(self, x0: Tensor, cond: Any = None) -> dict[str, Tensor]:
        """Return the report of the inner energy, decoding once."""
        if not isinstance(self.energy, WeightedSum):
            raise TypeError("only a WeightedSum reports terms; wrap the energies in one")
        return self.energy.report(self.decode(x0), cond)


class Sliced(Energy):
    """An energy of a part of the sample, ``x0[(slice(None), *index)]``.

    Args:
        energy: reads the part.
        index: one entry per axis after axis 0 (which is never sliced).
    """

    def __init__(self, energy: Energy, *index: slice | int) -> None:
        self.energy = energy
        self.index = (slice(None), *index)
        self.differentiable, self.least = energy.differentiable, energy.least

    def __call__(self, x0: Tensor, cond: Any = None) -> Tensor:
        """Return the energy of the slice, shape (B,)."""
        return self.energy(x0[self.index], cond)


def gradient(
    energy: Callable[[Tensor], Tensor], x: Tensor, retain: bool = False
) -> tuple[Tensor, Tensor]:
    """Return the energies (B,) and their gradients (B, ...) at x, one per sample.

    The sum over the batch is differentiated, so that no gradient depends on the batch size.
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        value = energy(x)
        (slope,) = torch.autograd.grad(value.sum(), x, retain_graph=retain)
    return value.detach(), slope


def require_differentiable(energy: object, method: str) -> None:
    """Refuse a black box where a gradient is needed.

    Raises:
        TypeError: in words that name the gradient-free methods.
    """
    if not getattr(energy, "differentiable", False):
        raise TypeError(
            f"{method} needs a differentiable energy, got {type(energy).__name__}, which is a black"
            f" box; use a gradient-free method such as SCG or BestOfN"
        )
