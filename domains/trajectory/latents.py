r"""Futures as a few numbers: principal components of trajectories in agents' own frames.

A future Y of F points is 2 F numbers. With their mean m, the leading directions E (2 F, k) of their
covariance and the deviations s along them,

.. math:: x = E^T (Y - m) / s, \qquad Y = m + E\,(s \odot x).

Both maps are linear, so that costs of positions have cheap gradients in x, and decode(encode(Y)) is
the projection of Y. Over the data every x has mean 0 and deviation 1.

Differs: OptTrajDiff ships a decoder that is not the transpose of its encoder, and divides by
    2 s + 0.1; plain components can be fitted by anybody and lose a centimetre or two.
"""

import torch
from torch import Tensor, nn


class Latents(nn.Module):
    """Encodes futures (..., F, 2) as (..., k), and back.

    Args:
        future: F.
        dim: k.

    Raises:
        ValueError: for more components than numbers.
    """

    mean: Tensor
    basis: Tensor
    std: Tensor

    def __init__(self, future: int, dim: int) -> None:
        super().__init__()
        if not 1 <= dim <= 2 * future:
            raise ValueError(f"latents of {future} points have 1 to {2 * future} dims, got {dim}")
        self.future, self.dim = future, dim
        self.register_buffer("mean", torch.zeros(2 * future))
        self.register_buffer("basis", torch.eye(2 * future)[:, :dim].contiguous())
        self.register_buffer("std", torch.ones(dim))

    @torch.no_grad()
    def fit(self, futures: Tensor) -> "Latents":
        """Set mean, directions and deviations to those of futures (n, F, 2); returns itself.

        Raises:
            ValueError: for fewer futures than components.
        """
        if len(futures) <= self.dim:
            raise ValueError(
                f"{self.dim} components need more futures than that, got {len(futures)}"
            )
        flat = futures.flatten(1).double()
        mean = flat.mean(0)
        covariance = (flat - mean).mT @ (flat - mean) / len(flat)
        values, vectors = torch.linalg.eigh(covariance)
        basis = vectors.flip(1)[:, : self.dim]
        # An eigenvector's sign is arbitrary; this one does not depend on the machine.
        largest = basis.gather(0, basis.abs().argmax(0, keepdim=True))
        self.mean.copy_(mean)
        self.basis.copy_(basis * largest.sign())
        # Directions in which nothing varies would divide by zero.
        self.std.copy_(values.flip(0)[: self.dim].clamp(min=1e-8).sqrt())
        return self

    def encode(self, futures: Tensor) -> Tensor:
        """Return the latents (..., k) of futures (..., F, 2)."""
        return (futures.flatten(-2) - self.mean) @ self.basis / self.std

    def decode(self, x: Tensor) -> Tensor:
        """Return the futures (..., F, 2) of latents (..., k)."""
        flat = torch.addmm(self.mean, (x * self.std).reshape(-1, self.dim), self.basis.mT)
        return flat.reshape(*x.shape[:-1], self.future, 2)

    def reconstruction(self, futures: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean and the final distance that is lost, metres, of futures (n, F, 2)."""
        gaps = (self.decode(self.encode(futures)) - futures).norm(dim=-1)
        return gaps.mean(), gaps[:, -1].mean()
