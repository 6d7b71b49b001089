r"""Energies of the diffusion's coordinates that are squares, as one matrix for each scene.

Positions are affine in u (:mod:`domains.trajectory.decoding`), and so is the misfit of a goal in
positions, so that

.. math:: E(u) = |J u + c|^2, \qquad \nabla E(u) = 2 J^T (J u + c).
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from domains.trajectory.costs.quadratic import Misfit
from domains.trajectory.prepared import Prepared
from guided.energy import Energy


class Squares(Energy):
    """The energy of u (B S, A, k), from the misfit of each of B scenes.

    Args:
        prepared: the scenes.
        misfits: of positions (R, A, F, 2) of a scene's own agents, affine; B of them.
        parts: of the same energy, as :class:`guided.guidance.ECMR` asks for them.
    """

    def __init__(
        self,
        prepared: Prepared,
        misfits: Sequence[Misfit],
        parts: Callable[..., Tensor | None],
    ) -> None:
        self.parts = parts
        _, agents, dim = prepared.mean.shape
        scenes, size = len(misfits), agents * dim
        units = torch.eye(size, dtype=torch.float64).reshape(size, agents, dim)
        probes = torch.cat([torch.zeros_like(units[:1]), units]).repeat(scenes, 1, 1)
        each = prepared.decode(probes).unflatten(0, (scenes, -1))
        found = [
            misfit(positions[:, : len(one.agents)])
            for misfit, positions, one in zip(misfits, each, prepared.cases, strict=True)
        ]
        rows = max(part.shape[1] for part in found)
        whole = torch.stack([torch.nn.functional.pad(p, (0, rows - p.shape[1])) for p in found])
        self.offset = whole[:, :1].to(prepared.mean)  # c, (B, 1, m)
        self.matrix = (whole[:, 1:] - whole[:, :1]).to(prepared.mean)  # J transposed, (B, A k, m)
        self.back = 2 * self.matrix.mT.contiguous()

    def __call__(self, x0: Tensor, cond: Any = None) -> Tensor:
        """Return the energies (B S,)."""
        return self._misfits(x0).square().sum(-1).flatten()

    def slope(self, x0: Tensor, cond: Any = None) -> Tensor:
        """Return the gradients (B S, A, k)."""
        return (self._misfits(x0) @ self.back.to(x0)).reshape(x0.shape)

    def _misfits(self, u: Tensor) -> Tensor:
        rows = u.reshape(len(self.matrix), -1, self.matrix.shape[1])
        return torch.baddbmm(self.offset.to(u), rows, self.matrix.to(u))
