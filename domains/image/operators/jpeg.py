"""Pictures through a JPEG file: a black box."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from domains.image.operators.degradation import Degradation
from guided.command import packages_named
from guided.operator import Simulator


class JPEG(Degradation):
    """Writes pictures as JPEG and reads them again, by Pillow: same shape in and out.

    Pixels are rounded to 8 bits and cut to [-1, 1]. Colours are subsampled as Pillow does (4:2:0).
    No gradient passes.

    Args:
        shape: of one picture, (1, H, W) or (3, H, W).
        quality: 1 (worst) to 95.

    Raises:
        ValueError: for another number of channels, a quality out of range, or where Pillow is
            missing.
    """

    linear = False
    differentiable = False

    def __init__(self, shape: Sequence[int], quality: int = 10) -> None:
        super().__init__(shape)
        if self.shape[0] not in (1, 3):
            raise ValueError(
                f"JPEG holds 1 channel or 3, got {self.shape[0]}; give grey or coloured pictures"
            )
        if not 1 <= quality <= 95:
            raise ValueError(f"the quality of a JPEG is 1 to 95, got {quality}")
        with packages_named("image"):
            import PIL.Image  # noqa: F401 (missing packages are told of before any work)
        self.quality = quality
        self.simulator = Simulator(Coded(quality), self.shape)

    @property
    def out(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.shape

    def apply(self, x0: Tensor) -> Tensor:
        """Return the pictures that the files hold; NaN where a pixel is not finite."""
        return self.simulator(x0)


class Coded:
    """One picture (C, H, W) in [-1, 1] through a file in memory."""

    def __init__(self, quality: int) -> None:
        self.quality = quality

    def __call__(self, x0: np.ndarray) -> np.ndarray:
        """Return the picture that the file holds, (C, H, W).

        Raises:
            ValueError: for pixels that are not finite.
        """
        from PIL import Image

        if not np.isfinite(x0).all():
            raise ValueError("a pixel is not finite")
        with Image.open(io.BytesIO(self.file(x0)), formats=("JPEG",)) as image:
            pixels = np.asarray(image, dtype=np.float64)
        return np.atleast_3d(pixels).transpose(2, 0, 1) / 127.5 - 1

    def file(self, x0: np.ndarray) -> bytes:
        """Return the file of a picture (C, H, W)."""
        from PIL import Image

        levels = np.rint((np.clip(x0, -1, 1) + 1) * 127.5).astype(np.uint8)
        image: Any = Image.fromarray(levels[0] if len(levels) == 1 else levels.transpose(1, 2, 0))
        buffer = io.BytesIO()
        image.save(buffer, format="JPEG", quality=self.quality)
        return buffer.getvalue()
