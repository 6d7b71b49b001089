r"""Pictures out of focus."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from domains.image.operators.degradation import Degradation

TRUNCATE = 4.0  # standard deviations at which the kernel is cut, as SciPy does


class GaussianBlur(Degradation):
    r"""A separable Gaussian kernel, with pictures mirrored at their edges: same shape in and out.

    .. math:: y = K_H\, x_0\, K_W^T

    with one matrix an axis, so that kernels may be longer than pictures.

    Args:
        shape: of one picture, (C, H, W).
        sigma: of the kernel, in pixels, above 0.

    Raises:
        ValueError: for a sigma that is not above 0.
    """

    def __init__(self, shape: Sequence[int], sigma: float = 1.0) -> None:
        super().__init__(shape)
        if not 0 < sigma < math.inf:
            raise ValueError(f"the sigma of a blur is above 0 pixels, got {sigma:g}")
        self.sigma = sigma
        self.rows, self.columns = (_matrix(size, sigma) for size in self.shape[1:])

    @property
    def out(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.shape

    def apply(self, x0: Tensor) -> Tensor:
        """Return the blurred pictures."""
        return self.rows.to(x0) @ x0 @ self.columns.to(x0).mT


def _matrix(size: int, sigma: float) -> Tensor:
    """Return the blur of an axis, (size, size), each pixel reflected at the edge it crosses."""
    radius = int(TRUNCATE * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    kernel /= kernel.sum()
    # The mirrored axis repeats after two lengths: d c b a | a b c d | d c b a.
    source = (np.arange(size)[:, None] + offsets) % (2 * size)
    source = np.minimum(source, 2 * size - 1 - source)
    matrix = np.zeros((size, size))
    np.add.at(matrix, (np.arange(size)[:, None], source), kernel)
    return torch.from_numpy(matrix)
