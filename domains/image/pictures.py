"""One picture file, or a folder of them, in the shape that a prior knows."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from domains.image.data.folder import SUFFIXES
from domains.image.data.images import scaled
from guided.command import one_line, packages_named


def read_pictures(path: Path, shape: Sequence[int]) -> Tensor:
    """Return pictures (N, C, H, W) in [-1, 1], in the order of their names.

    Each is resized so that it covers H x W, and the middle is cut out; it is made grey for one
    channel. What is transparent is laid on white.

    Args:
        path: a file, or a folder of files.
        shape: of one picture, (1, H, W) or (3, H, W).

    Raises:
        ValueError: for a place without pictures, a file that cannot be read, another number of
            channels, or where Pillow is missing.
    """
    channels, height, width = shape
    if channels not in (1, 3):
        raise ValueError(f"pictures have 1 channel or 3, got a prior with {channels}; use another")
    files = [path] if path.is_file() else _files(path)
    return torch.cat([_read(file, channels, height, width) for file in files])


def _files(path: Path) -> list[Path]:
    found = sorted(p for p in path.glob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not found:
        raise ValueError(f"{path} is no picture, and no folder of pictures ({' '.join(SUFFIXES)})")
    return found


def _read(path: Path, channels: int, height: int, width: int) -> Tensor:
    with packages_named("image"):
        from PIL import Image, ImageOps
    try:
        with Image.open(path) as image:
            seen = ImageOps.exif_transpose(image).convert("RGBA")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"cannot read the picture {path} ({one_line(error)}); mend it") from None
    white = Image.new("RGBA", seen.size, "white")
    whole = Image.alpha_composite(white, seen).convert("L" if channels == 1 else "RGB")
    pixels = np.atleast_3d(np.asarray(ImageOps.fit(whole, (width, height))))
    return scaled(pixels.transpose(2, 0, 1), white=255)[None]
