r"""The tilt :math:`\exp(-\tfrac12 |F x - y|^2)`: measurements and quadratic energies reduce to it.

With :math:`S = L L^T`, :math:`W = F L` and the decomposition :math:`W = U s V^T`,

.. math:: m' = m - L V \frac{s}{1 + s^2} U^T r, \quad S' = L V \frac{1}{1 + s^2} V^T L^T, \quad
          \log Z = -\tfrac12 \sum_i \log(1 + s_i^2) - \tfrac12 \sum_i \frac{(U^T r)_i^2}{1 + s_i^2}

where :math:`r = F m - y`. No matrix is inverted and no nearly equal numbers are subtracted, so S
may be singular and the tilt as sharp as wanted.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from guided.exact.covariance import Covariances


def least_squares(
    centres: Tensor, covariances: Covariances, F: Tensor, y: Tensor
) -> tuple[Tensor, Covariances, Tensor]:
    """Tilt every component.

    Args:
        centres: the means in the eigenbasis of their covariances, shape (..., K, D).
        covariances: of the components; shared by all rows.
        F: shape (r, D) over the flattened sample.
        y: shape (r,), or (B, r) for one per row.

    Returns:
        The new centres, the new covariances, and log Z of every component, shape (..., K).

    Raises:
        ValueError: for F or y of another shape, or if the rows have covariances of their own.
    """
    variances, basis = covariances.variances, covariances.basis
    if F.shape[1:] != centres.shape[-1:] or y.shape[-1:] != F.shape[:1]:
        raise ValueError(
            f"a measurement needs A (r, {centres.shape[-1]}) and y (r,) or (B, r), got "
            f"{tuple(F.shape)} and {tuple(y.shape)}"
        )
    if variances.ndim != 2:
        raise ValueError(
            "a tilt of a law per row needs covariances that the rows share, got one noise level per"
            " row; condition on x_t at a single level"
        )
    root = variances.sqrt()
    count, size = variances.shape
    Fv = F.expand(count, *F.shape) if basis is None else F @ basis
    U, s, Vh = torch.linalg.svd(Fv * root[:, None, :], full_matrices=True)
    rank = s.shape[-1]
    residual = torch.einsum("krd,...kd->...kr", Fv, centres) - y[..., None, :]
    residual = torch.einsum("krs,...kr->...ks", U, residual)
    stretch = 1 + pad(s, (0, len(F) - rank)).square()
    log_z = -0.5 * (stretch.log() + residual.square() / stretch).sum(-1)
    step = torch.einsum(
        "ksd,...ks->...kd", Vh[:, :rank], s / stretch[:, :rank] * residual[..., :rank]
    )
    shrink = (1 + pad(s, (0, size - rank)).square()).rsqrt()
    axes, scales, _ = torch.linalg.svd(root[:, :, None] * Vh.mT * shrink[:, None, :])
    moved = torch.einsum("...kd,kde->...ke", centres - root * step, axes)
    new_basis = axes if basis is None else basis @ axes
    return moved, Covariances(scales.square(), new_basis), log_z
