r"""Linear splits of a sample into bands that sum to the identity.

Every split is a low band, a matrix along each of some axes, and the rest of the identity. Only the
split of cosines is a projection: the low band of a low band is not the same for the others.
"""

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from guided.guidance.ops import axes, require_dims
from guided.nets.attention import gaussian

Band = Callable[[Tensor], Tensor]
"""A linear map of x (B, ...) to one band of it, of the same shape."""


def low_pass(sigma: float, dims: Sequence[int]) -> tuple[Band, Band]:
    """Split into what a Gaussian keeps and the rest.

    At the edges the Gaussian is cut off and normalised again, so that a constant is low.

    Args:
        sigma: width of the Gaussian, in entries.
        dims: axes along which it blurs, not axis 0.

    Raises:
        ValueError: for a sigma that is not positive, or axis 0 among ``dims``.
    """
    if not sigma > 0:
        raise ValueError(f"the width of a low pass is positive, got sigma={sigma}")
    return _split(lambda size: gaussian(size, sigma), dims)


def dct_split(cut: float, dims: Sequence[int]) -> tuple[Band, Band]:
    r"""Split into the lowest cosines along some axes and the rest: orthogonal projections.

    Args:
        cut: the share of the cosines along each axis that is low, rounded, but at least the
            constant; 1 makes everything low.
        dims: axes that are transformed, not axis 0; low is what is low along all of them.

    Raises:
        ValueError: for a share outside (0, 1], or axis 0 among ``dims``.
    """
    if not 0 < cut <= 1:
        raise ValueError(f"the share of low cosines is in (0, 1], got cut={cut}")

    def matrix(size: int) -> Tensor:
        place = torch.arange(size, dtype=torch.float64)
        cosines = torch.cos(torch.pi / size * place[:, None] * (place + 0.5))
        cosines = functional.normalize(cosines[: max(1, round(cut * size))], dim=1)
        return cosines.T @ cosines

    return _split(matrix, dims)


def down_up(factor: float, dims: Sequence[int] = (-2, -1)) -> tuple[Band, Band]:
    """Split into what is left after shrinking and growing again, both linearly, and the rest.

    Args:
        factor: by which the axes shrink; 1 makes everything low.
        dims: axes that shrink, not axis 0; those of an image by default.

    Raises:
        ValueError: for a factor below 1, or axis 0 among ``dims``.

    Source: Zhang et al. 2025, FreCaS (arXiv 2410.18410).
    """
    if not factor >= 1:
        raise ValueError(f"the factor of shrinking is at least 1, got {factor}")

    def matrix(size: int) -> Tensor:
        rows = torch.eye(size, dtype=torch.float64)[None]
        few = functional.interpolate(rows, size=max(1, round(size / factor)), mode="linear")
        return functional.interpolate(few, size=size, mode="linear")[0].T

    return _split(matrix, dims)


def _split(matrix: Callable[[int], Tensor], dims: Sequence[int]) -> tuple[Band, Band]:
    """Return the band of ``matrix(size)`` along every axis, and the rest."""
    require_dims(dims)

    @functools.lru_cache(maxsize=8)
    def kept(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        # Kept, so it must not be born in inference mode, where a later gradient refuses it.
        with torch.inference_mode(False):
            return matrix(size).to(device, dtype)

    def low(x: Tensor) -> Tensor:
        for dim in axes(x, dims):
            weights = kept(x.shape[dim], x.dtype, x.device)
            x = (x.movedim(dim, -1) @ weights.T).movedim(-1, dim)
        return x

    return low, lambda x: x - low(x)
