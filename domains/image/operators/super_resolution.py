"""Pictures with fewer pixels."""

from collections.abc import Sequence

from torch import Tensor
from torch.nn.functional import avg_pool2d

from domains.image.operators.degradation import Degradation


class SuperResolution(Degradation):
    """Means over blocks of factor x factor pixels: (B, C, H, W) -> (B, C, H/factor, W/factor).

    Args:
        shape: of one picture, (C, H, W).
        factor: side of a block; 1 is neutral.

    Raises:
        ValueError: for a factor that does not divide the sides.

    Differs: other work shrinks by bicubic interpolation; a pixel of a camera collects a block.
    """

    def __init__(self, shape: Sequence[int], factor: int = 2) -> None:
        super().__init__(shape)
        _, height, width = self.shape
        if factor < 1 or height % factor or width % factor:
            raise ValueError(
                f"a picture of {height} x {width} cannot shrink by a factor of {factor}; give one "
                f"that divides both sides"
            )
        self.factor = factor

    @property
    def out(self) -> tuple[int, int, int]:
        """(C, H / factor, W / factor)."""
        channels, height, width = self.shape
        return channels, height // self.factor, width // self.factor

    def apply(self, x0: Tensor) -> Tensor:
        """Return the means of the blocks."""
        return avg_pool2d(x0, self.factor)
