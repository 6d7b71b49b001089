"""Pictures of which only some pixels are seen."""

from collections.abc import Sequence

import torch
from torch import Tensor

from domains.image.operators.degradation import Degradation
from guided.rng import Rng


class Inpainting(Degradation):
    """Keeps the pixels of a mask: (B, C, H, W) -> (B, C, pixels), row by row.

    Args:
        shape: of one picture, (C, H, W).
        mask: which pixels are seen, boolean (H, W), in all channels alike.

    Raises:
        ValueError: for a mask of another shape or type, or one that shows nothing.
    """

    def __init__(self, shape: Sequence[int], mask: Tensor) -> None:
        super().__init__(shape)
        if mask.dtype != torch.bool or mask.shape != self.shape[1:] or not bool(mask.any()):
            raise ValueError(
                f"a mask is boolean, of shape {self.shape[1:]} and True where a pixel is seen, got "
                f"{mask.dtype} of shape {tuple(mask.shape)} with {int(mask.sum())} pixels seen"
            )
        self.mask = mask
        self.seen = mask.flatten().nonzero()[:, 0]

    @property
    def out(self) -> tuple[int, int]:
        """(C, pixels seen)."""
        return self.shape[0], len(self.seen)

    def apply(self, x0: Tensor) -> Tensor:
        """Return the pixels that are seen."""
        return x0.flatten(2).index_select(2, self.seen.to(x0.device))

    def picture(self, y: Tensor) -> Tensor:
        """Return the pixels in their places, NaN elsewhere."""
        whole = torch.full((len(y), self.shape[0], self.mask.numel()), torch.nan).to(y)
        return whole.index_copy(2, self.seen.to(y.device), y).unflatten(2, self.shape[1:])


def scattered(shape: Sequence[int], share: float = 0.5, seed: int = 0) -> Inpainting:
    """Return an inpainting of which a share of the pixels, drawn by seed, is seen.

    Args:
        shape: of one picture, (C, H, W).
        share: in (0, 1]; 1 shows the picture. At least one pixel is seen.
        seed: of the places.

    Raises:
        ValueError: for a share out of range.
    """
    if not 0 < share <= 1:
        raise ValueError(f"the share of pixels that are seen is in (0, 1], got {share:g}")
    height, width = shape[-2:]
    order = Rng(seed).uniform((height * width,)).argsort()
    mask = torch.zeros(height * width, dtype=torch.bool)
    mask[order[: max(1, round(share * height * width))]] = True
    return Inpainting(shape, mask.reshape(height, width))
