r"""K covariance matrices kept as :math:`S_k = V_k \,\mathrm{diag}(e_k)\, V_k^T`.

In the coordinates :math:`V_k^T x` a noised, conditioned or inverted covariance is elementwise
arithmetic on :math:`e_k`, so that a new noise level costs no decomposition.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Covariances:
    """Eigen-decomposed covariances.

    Args:
        variances: eigenvalues, shape (K, D), or (B, K, D) for one set per row; at least 0.
        basis: eigenvectors as columns, shape (K, D, D), or None for the coordinate axes.
    """

    variances: Tensor
    basis: Tensor | None

    def rotate(self, x: Tensor) -> Tensor:
        """Express x (..., D) in the basis of every component, shape (..., K, D) or (..., 1, D)."""
        if self.basis is None:
            return x[..., None, :]
        return torch.einsum("...d,kde->...ke", x, self.basis)

    def rotate_each(self, means: Tensor) -> Tensor:
        """Express the vector of each component (K, D) in its own basis, shape (K, D)."""
        return means if self.basis is None else torch.einsum("kd,kde->ke", means, self.basis)

    def restore(self, coordinates: Tensor) -> Tensor:
        """Map every component's own coordinates (..., K, D) back, shape (..., K, D)."""
        if self.basis is None:
            return coordinates
        return torch.einsum("...ke,kde->...kd", coordinates, self.basis)

    def restore_one(self, coordinates: Tensor, component: Tensor) -> Tensor:
        """Map coordinates (N, D), each in the basis of its component (N,), back."""
        if self.basis is None:
            return coordinates
        restored = torch.empty_like(coordinates)
        for k, basis in enumerate(self.basis):
            restored[component == k] = coordinates[component == k] @ basis.mT
        return restored

    def combine(self, coordinates: Tensor, weights: Tensor) -> Tensor:
        """Map coordinates (..., K, D) back and sum them with weights (..., K), shape (..., D)."""
        weighted = weights[..., None] * coordinates
        if self.basis is None:
            return weighted.sum(-2)
        return torch.einsum("...ke,kde->...d", weighted, self.basis)

    def matrices(self) -> Tensor:
        """Return the covariance matrices, shape (..., K, D, D)."""
        if self.basis is None:
            return torch.diag_embed(self.variances)
        return (self.basis * self.variances[..., None, :]) @ self.basis.mT

    def with_variances(self, variances: Tensor) -> "Covariances":
        """Return covariances with the same eigenvectors."""
        return Covariances(variances, self.basis)


def decompose(covs: Any, means: Tensor) -> Covariances:
    """Read the covariances of the components with means (K, *shape), in any of their forms.

    Args:
        covs: a variance, or a tensor of shape (K,) isotropic, (K, *shape) diagonal, or (K, D, D)
            over the flattened sample.
        means: gives K, the sample's shape, dtype and device.

    Raises:
        ValueError: for another shape, or covariances that are not symmetric and at least 0.
    """
    covs = torch.as_tensor(covs, dtype=means.dtype, device=means.device)
    count, size = len(means), math.prod(means.shape[1:])
    if covs.shape in ((), (count,)):
        covariances = Covariances(covs.reshape(-1, 1).expand(count, size), None)
    elif covs.shape == means.shape:
        covariances = Covariances(covs.reshape(count, size), None)
    elif covs.shape == (count, size, size):
        covariances = _eigen(covs)
    else:
        raise ValueError(
            f"the covariances of means {tuple(means.shape)} are one variance, ({count},), "
            f"{tuple(means.shape)} or {(count, size, size)}, got shape {tuple(covs.shape)}"
        )
    low = float(covariances.variances.min())
    if not low >= 0:
        raise ValueError(f"covariances need eigenvalues of at least 0, got {low:.4g}")
    return covariances


def matrix(square: Any, like: Tensor) -> Tensor:
    """Read one symmetric matrix (D, D) over samples of the shape and dtype of ``like``.

    Args:
        square: a number, a diagonal of the sample's shape, or the matrix itself.
        like: gives shape, dtype and device.

    Raises:
        ValueError: as :func:`decompose`.
    """
    square = torch.as_tensor(square, dtype=like.dtype, device=like.device)
    return decompose(square[None], like[None]).matrices()[0]


def coefficient(value: Any, like: Tensor) -> Any:
    """Shape alpha or sigma, a number or a tensor (B, 1, ...), to broadcast against (B, K, D).

    Raises:
        ValueError: for several levels in one sample.
    """
    if not isinstance(value, Tensor) or value.ndim == 0:
        return value
    if value.numel() != len(value):
        raise ValueError(
            f"a law has one noise level per sample, tensors of shape (B, 1, ...), got "
            f"{tuple(value.shape)}"
        )
    return value.to(like).reshape(-1, 1, 1)


def _eigen(covs: Tensor) -> Covariances:
    # In double precision: small eigenvalues decide the law at small noise.
    double = covs.double()
    if not torch.allclose(double, double.mT, rtol=1e-5, atol=1e-6 * float(double.abs().max())):
        raise ValueError("covariances must be symmetric, got others; pass (S + S.mT) / 2")
    variances, basis = torch.linalg.eigh(double)
    rounding = torch.finfo(covs.dtype).eps * covs.shape[-1] * variances.max(-1, keepdim=True).values
    variances = variances.masked_fill(variances.abs() <= rounding, 0.0)
    return Covariances(variances.to(covs), basis.to(covs))
