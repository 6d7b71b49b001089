r"""Guidance on the clean manifold with reference points, which a sample may jump to."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from guided.cond import repeat
from guided.denoiser import Denoiser
from guided.energy import Energy
from guided.guidance.denoise.ecm import ECM
from guided.operator import Operator

Split = Callable[..., Tensor | None]  # (x0, cond) -> the parts of an energy, if it has parts


class ECMR(ECM):
    r"""Replaces parts of the clean estimate by better references, then moves it as :class:`ECM`.

    Axis 1 of x is made of parts, e.g. agents. One after the other, a part becomes the best of
    itself and its M references, the other parts being as they are:

    .. math:: x_{0,a} \leftarrow \arg\min_{z \in \{x_{0,a}, r_{1,a}, \dots, r_{M,a}\}}
              E(x_{0,1}, \dots, z, \dots, x_{0,A}).

    The total energy never rises. Where it is a sum over parts this is the best of all combinations,
    found part by part; where parts interact (collisions) it is a descent in their order. Gradients
    cannot cross from one mode to another; this can. A tie keeps the sample's own part, and a
    reference with an energy of NaN never wins.

    Costs A calls of the energy, each of M + 1 rows per sample, for a sweep, and one gradient of it.
    An energy with a method ``parts`` (x0, cond), which returns the terms of its sum (B, A), or None
    where it is no sum, costs one call of the samples, and one of the references: once a run without
    conditions, else at every step.

    Args:
        denoiser: the model; it predicts x0 (B, A, ...).
        energy: as in :class:`ECM`.
        references: shape (R, M, A, ...), in the sampler's coordinates (encode them where it runs in
            those of a :class:`guided.GaussianPrior`). Each of the R requests serves B / R rows,
            side by side.
        scale: as in :class:`ECM`; with ``sweeps`` 0 too, 0 is neutral.
        clip: as in :class:`ECM`; it does not bound a replacement.
        spread: as in :class:`ECM`.
        metric: as in :class:`ECM`.
        halvings: as in :class:`ECM`.
        sweeps: how often all parts are gone through; 0 is :class:`ECM`.

    Raises:
        TypeError: for an energy that is a black box.
        ValueError: as :class:`ECM`; for negative sweeps; in a run, for references that do not fit.

    Source: Wang et al. 2024, Optimizing diffusion models for joint trajectory prediction and
        controllable generation (arXiv 2408.00766), and its code.
    Differs: the code judges every part by its own energy, which is the same where the energy is a
        sum over parts, and is not defined elsewhere.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        energy: Energy | Operator,
        references: Tensor,
        scale: float = 1.0,
        clip: float = 1.0,
        spread: float | Tensor = 1.0,
        metric: Tensor | None = None,
        halvings: int = 0,
        sweeps: int = 1,
    ) -> None:
        super().__init__(denoiser, energy, scale, clip, spread, metric, halvings)
        if sweeps < 0:
            raise ValueError(f"ECMR needs 0 (none) or more sweeps over the parts, got {sweeps}")
        self.references, self.sweeps = references, sweeps
        self._best: tuple[Tensor, Tensor] | None = None

    def improved(self, x0: Tensor, cond: Any = None) -> Tensor:
        """Return clean samples (B, A, ...) after the replacements and one step down the energy."""
        return super().improved(self.replaced(x0, cond), cond)

    @torch.no_grad()
    def replaced(self, x0: Tensor, cond: Any = None) -> Tensor:
        """Return clean samples (B, A, ...) with better parts, where a reference is better."""
        if self.sweeps == 0:
            return x0
        references = self._per_row(x0)
        split: Split | None = getattr(self.energy, "parts", None)
        own = split(x0, cond) if split and references.shape[1] else None
        if split and own is not None:
            return self._at_once(x0, own, split, cond)
        each = torch.arange(len(x0), device=x0.device)
        many = repeat(cond, references.shape[1] + 1)
        for part in list(range(x0.shape[1])) * self.sweeps:
            candidates = x0[:, None].repeat_interleave(references.shape[1] + 1, 1)
            candidates[:, 1:, part] = references[:, :, part]
            energies = self.energy(candidates.flatten(0, 1), many).reshape(len(x0), -1)
            best = energies.nan_to_num(nan=math.inf, posinf=math.inf).argmin(1)
            x0 = candidates[each, best]
        return x0

    def _at_once(self, x0: Tensor, own: Tensor, split: Split, cond: Any) -> Tensor:
        """Replace all parts of a sum, which do not depend on each other."""
        if cond is not None:
            least, chosen = best_of(self._per_row(x0), split, cond)
        else:  # what references cost is then the same at every step, for all samples of a request
            if self._best is None:
                self._best = best_of(self.references.to(x0), split)
            each = len(x0) // len(self.references)
            least, chosen = (part.to(x0).repeat_interleave(each, 0) for part in self._best)
        better = least < own.nan_to_num(nan=math.inf, posinf=math.inf)
        return torch.where(better.reshape(*better.shape, *[1] * (x0.ndim - 2)), chosen, x0)

    def _per_row(self, x0: Tensor) -> Tensor:
        given, shape = tuple(self.references.shape), tuple(x0.shape)
        if x0.ndim < 2 or given[2:] != shape[1:] or not given[0] or shape[0] % given[0]:
            raise ValueError(
                f"ECMR needs references (R, M, A, ...) for samples (B, A, ...) with R a divisor of "
                f"B, got {given} for {shape}"
            )
        return self.references.to(x0).repeat_interleave(shape[0] // given[0], 0)


def best_of(references: Tensor, split: Split, cond: Any = None) -> tuple[Tensor, Tensor]:
    """Return what the best reference of each part costs, (R, A), and that part of it (R, A, ...).

    Args:
        references: (R, M, A, ...).
        split: the parts of the energy, (R M, A); a NaN never wins.
        cond: with leading axis R.
    """
    count = references.shape[1]
    found = split(references.flatten(0, 1), repeat(cond, count))
    assert found is not None  # as it was for the samples
    least, best = found.unflatten(0, (-1, count)).nan_to_num(nan=math.inf, posinf=math.inf).min(1)
    index = best.reshape(len(best), 1, -1, *[1] * (references.ndim - 3))
    return least, references.gather(1, index.expand(-1, 1, *references.shape[2:]))[:, 0]
