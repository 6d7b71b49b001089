"""Pictures in folders: all in one, or one subfolder for every class.

Grey pictures have one channel, and three if there are colours among them. What is transparent is
laid on white.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from domains.image.data.images import TEST_SHARE, Images, drawn_split, scaled
from guided.command import one_line, packages_named

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
GREY = ("1", "L")


def folder(path: Path, size: int | None = None, grey: bool = False) -> Images:
    """Return the pictures of a folder, in the order of their names; a tenth is held out.

    Args:
        path: with pictures, or with one subfolder of pictures for every class.
        size: resize so that the shorter side is this, and cut out the square in the middle; None
            leaves the pictures as they are, and refuses several sizes.
        grey: make colours grey.

    Raises:
        ValueError: for no pictures, a file that cannot be read, or several sizes; or where Pillow
            is missing.
    """
    classes = _classes(path)
    files = [(file, label) for label, own in enumerate(classes.values()) for file in own]
    opened = [(file, _opened(file)) for file, _ in files]
    mode = "L" if grey or all(image.mode in GREY for _, image in opened) else "RGB"
    pixels = [np.asarray(_fitted(image.convert(mode), size)) for _, image in opened]
    _require_one_size([file for file, _ in files], pixels)
    stacked = np.stack(pixels)
    stacked = stacked[:, None] if mode == "L" else stacked.transpose(0, 3, 1, 2)
    names = () if "" in classes else tuple(classes)
    labels = torch.tensor([label for _, label in files]) if names else None
    held_out = drawn_split(len(files), test=round(TEST_SHARE * len(files)))
    return Images(scaled(stacked, white=255), labels, names, held_out)


def squared(pixels: np.ndarray, size: int | None) -> np.ndarray:
    """Return grey pictures (N, H, W) as squares of ``size``; None leaves them as they are."""
    if size is None or pixels.shape[1:] == (size, size):
        return pixels
    with packages_named("image"):
        from PIL import Image
    return np.stack([np.asarray(_fitted(Image.fromarray(picture), size)) for picture in pixels])


def _classes(path: Path) -> dict[str, list[Path]]:
    """Return the files of every class; one class without a name where there are no classes."""
    flat = _pictures(path)
    below = sorted(place for place in path.iterdir() if place.is_dir())
    classes = {place.name: found for place in below if (found := _pictures(place))}
    if flat and classes:
        raise ValueError(
            f"{path} has pictures in it and in its folder {next(iter(classes))}; give every "
            f"picture a class, or none"
        )
    if not flat and not classes:
        raise ValueError(
            f"{path} has no pictures in it or one folder below ({' '.join(SUFFIXES)}); give another"
        )
    return {"": flat} if flat else classes


def _pictures(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())


def _opened(path: Path) -> Any:
    """Return a picture as it is to be seen, in mode 1, L or RGB."""
    with packages_named("image"):
        from PIL import Image, ImageOps
    try:
        with Image.open(path) as image:
            seen = ImageOps.exif_transpose(image)
            seen.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"cannot read the picture {path} ({one_line(error)}); mend it") from None
    if seen.mode.startswith(("I", "F")):
        raise ValueError(f"{path} has more than 8 bits a channel; convert it to 8")
    if seen.mode in GREY:
        return seen
    final = "L" if seen.mode == "LA" else "RGB"
    if seen.has_transparency_data:
        seen = seen.convert("RGBA")
        seen = Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen)
    return seen.convert(final)


def _fitted(image: Any, size: int | None) -> Any:
    if size is None or image.size == (size, size):
        return image
    from PIL import ImageOps

    return ImageOps.fit(image, (size, size))


def _require_one_size(files: list[Path], pixels: list[np.ndarray]) -> None:
    for file, picture in zip(files, pixels, strict=True):
        if picture.shape != pixels[0].shape:
            (height, width), (tall, wide) = picture.shape[:2], pixels[0].shape[:2]
            raise ValueError(
                f"pictures must have one size, got {width} x {height} in {file} after {wide} x "
                f"{tall} in {files[0]}; give a size to which all are cut"
            )
