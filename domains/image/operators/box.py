"""Pictures with a hole."""

from collections.abc import Sequence

import torch

from domains.image.operators.inpainting import Inpainting


class Box(Inpainting):
    """Hides a box of pixels and keeps those around it.

    Args:
        shape: of one picture, (C, H, W).
        height: of the box; None is half of the picture's.
        width: of the box; None is half of the picture's.
        top: its first row; None is in the middle.
        left: its first column; None is in the middle.

    Raises:
        ValueError: for a box that is empty, is not inside the picture, or is all of it.
    """

    def __init__(
        self,
        shape: Sequence[int],
        height: int | None = None,
        width: int | None = None,
        top: int | None = None,
        left: int | None = None,
    ) -> None:
        tall, wide = shape[-2:]
        height = tall // 2 if height is None else height
        width = wide // 2 if width is None else width
        top = (tall - height) // 2 if top is None else top
        left = (wide - width) // 2 if left is None else left
        inside = 0 <= top and 0 <= left and top + height <= tall and left + width <= wide
        if not inside or height < 1 or width < 1 or (height, width) == (tall, wide):
            raise ValueError(
                f"a box is smaller than the picture of {tall} x {wide} and inside it, got {height} "
                f"x {width} from row {top} and column {left}"
            )
        mask = torch.ones(tall, wide, dtype=torch.bool)
        mask[top : top + height, left : left + width] = False
        super().__init__(shape, mask)
