"""Pictures taken by a camera that moved."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from domains.image.operators.degradation import Degradation

POINTS = 1000  # of the path in a pixel


class MotionBlur(Degradation):
    """Means along a straight path, with edges that go on outside: same shape in and out.

    Args:
        shape: of one picture, (C, H, W).
        length: of the path in pixels, above 0; 1 is neutral.
        angle: of the path in degrees; 0 lies along a row, 90 along a column.

    Raises:
        ValueError: for a length that is not above 0 or an angle that is no number.
    """

    def __init__(self, shape: Sequence[int], length: float = 3.0, angle: float = 45.0) -> None:
        super().__init__(shape)
        if not 0 < length < math.inf or not math.isfinite(angle):
            raise ValueError(
                f"a motion has a length above 0 pixels and an angle in degrees, got {length:g} and "
                f"{angle:g}"
            )
        self.kernel = path_kernel(length, angle)

    @property
    def out(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.shape

    def apply(self, x0: Tensor) -> Tensor:
        """Return the blurred pictures."""
        height, width = self.kernel.shape
        rows, columns = height // 2, width // 2
        wide = pad(x0, (columns, columns, rows, rows), mode="replicate")
        # Channels are blurred alike, so that each is a picture of its own.
        moved = conv2d(wide.flatten(0, 1)[:, None], self.kernel.to(x0)[None, None])
        return moved.reshape(x0.shape)


def path_kernel(length: float, angle: float) -> Tensor:
    """Return the share of a path through the middle that lies in every pixel; odd sides, sum 1."""
    count = max(1, math.ceil(length * POINTS))
    along = ((np.arange(count) + 0.5) / count - 0.5) * length
    turn = math.radians(angle)
    # Rows count downwards. Rounding to 1e-9 keeps a path that lies on a border in one pixel.
    row = np.rint(np.round(-along * math.sin(turn), 9)).astype(int)
    column = np.rint(np.round(along * math.cos(turn), 9)).astype(int)
    rows, columns = np.abs(row).max(), np.abs(column).max()
    kernel = np.zeros((2 * rows + 1, 2 * columns + 1))
    np.add.at(kernel, (row + rows, column + columns), 1 / count)
    return torch.from_numpy(kernel)
