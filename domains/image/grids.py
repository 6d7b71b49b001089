"""Grids of pictures as PNG files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from guided.results import in_one_piece

SEAM = 1  # pixels between pictures, before they are enlarged
SEAM_GREY = 128


def tiled(x: Tensor, columns: int) -> NDArray[np.uint8]:
    """Return pictures (N, C, H, W) in [-1, 1] side by side, (H', W', C); what is beyond is cut off.

    Raises:
        ValueError: for no pictures, channels that are neither 1 nor 3, or no column.
    """
    if x.ndim != 4 or not len(x) or x.shape[1] not in (1, 3) or columns < 1:
        raise ValueError(
            f"a grid is made of pictures (N, 1 or 3, H, W) in at least 1 column, got "
            f"{tuple(x.shape)} and {columns}"
        )
    count, channels, height, width = x.shape
    rows = -(-count // columns)
    sheet = np.full(
        (rows * (height + SEAM) + SEAM, columns * (width + SEAM) + SEAM, channels),
        SEAM_GREY,
        dtype=np.uint8,
    )
    grey = ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).movedim(1, -1).cpu().numpy()
    for index, picture in enumerate(grey):
        top = SEAM + index // columns * (height + SEAM)
        left = SEAM + index % columns * (width + SEAM)
        sheet[top : top + height, left : left + width] = picture
    return sheet


def save_grid(path: Path, x: Tensor, columns: int, enlarge: int = 0) -> None:
    """Write pictures (N, C, H, W) in [-1, 1] as one PNG file.

    Args:
        path: of the file.
        x: the pictures, row by row.
        columns: how many side by side.
        enlarge: side of a pixel in the file; 0 makes small pictures large enough to see.
    """
    from PIL import Image

    sheet = tiled(x, columns)
    times = enlarge or max(1, 48 // max(x.shape[-2:]))
    sheet = sheet.repeat(times, axis=0).repeat(times, axis=1)
    with in_one_piece(path) as part:
        Image.fromarray(sheet[..., 0] if sheet.shape[-1] == 1 else sheet).save(part, format="PNG")


def in_columns(*parts: Tensor) -> Tensor:
    """Interleave sets of N pictures, so that a grid of len(parts) columns has one set in each."""
    return torch.stack(parts, 1).flatten(0, 1)


def labels_in_turn(count: int, classes: Sequence[int]) -> Tensor:
    """Return labels (N,), the classes over and over."""
    return torch.tensor([classes[i % len(classes)] for i in range(count)], dtype=torch.long)
