"""Pictures in IDX files, the format of MNIST, plain or gzipped.

An IDX file is two zero bytes, a byte for the type (8 = unsigned byte), a byte for the number of
axes, the axes as big-endian integers of four bytes, and the numbers.
"""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from domains.image.data.folder import squared
from domains.image.data.images import TEST_SHARE, Images, drawn_split, scaled

UNSIGNED_BYTE = 8
TRAIN, TEST = "train-images-idx3-ubyte", "t10k-images-idx3-ubyte"


def idx(path: Path, size: int | None = None) -> Images:
    """Return the pictures (N, 1, H, W) of a file; a tenth is held out.

    The labels are in the file whose name has ``labels`` and ``idx1`` for ``images`` and ``idx3``,
    if there is one.

    Raises:
        ValueError: for a file of another format or shape, or labels of another number.
    """
    x, labels = _pair(path, size)
    return _images(x, labels, drawn_split(len(x), test=round(TEST_SHARE * len(x))))


def idx_folder(path: Path, size: int | None = None) -> Images | None:
    """Return the pictures of a folder as MNIST comes, its test files held out; None if it is none.

    Raises:
        ValueError: as :func:`idx`, or where only one of the two files is there.
    """
    train, test = _there(path / TRAIN), _there(path / TEST)
    if train is None and test is None:
        return None
    if train is None or test is None:
        missing = TRAIN if train is None else TEST
        raise ValueError(f"{path} has no {missing}; restore it, or give the other file by its name")
    (x, labels), (x_test, labels_test) = _pair(train, size), _pair(test, size)
    if (labels is None) != (labels_test is None) or x.shape[1:] != x_test.shape[1:]:
        raise ValueError(f"{train.name} and {test.name} of {path} do not go together; restore them")
    if labels is not None and labels_test is not None:
        labels = torch.cat([labels, labels_test])
    held_out = torch.arange(len(x) + len(x_test)) >= len(x)
    return _images(torch.cat([x, x_test]), labels, held_out)


def read_idx(path: Path) -> np.ndarray:
    """Return the numbers of an IDX file of unsigned bytes.

    Raises:
        ValueError: for a file that cannot be read, of another format, or of another length than it
            says.
    """
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if path.suffix == ".gz" else data
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"cannot read {path} ({error}); restore it") from None
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] != UNSIGNED_BYTE:
        raise ValueError(
            f"{path} is no IDX file of unsigned bytes, which starts with 00 00 08, but starts with "
            f"{data[:4].hex(' ') or 'nothing'}; give a file in the format of MNIST"
        )
    start = 4 + 4 * data[3]
    shape = struct.unpack(f">{data[3]}I", data[4:start]) if len(data) >= start else ()
    if not shape or len(data) - start != int(np.prod(shape, dtype=object)):
        raise ValueError(
            f"{path} says that it holds {' x '.join(map(str, shape)) or 'no'} bytes but holds "
            f"{max(0, len(data) - start)}; restore it"
        )
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _pair(path: Path, size: int | None) -> tuple[Tensor, Tensor | None]:
    pixels = read_idx(path)
    if pixels.ndim != 3 or not pixels.size:
        raise ValueError(
            f"{path} holds numbers of shape {pixels.shape}, expected pictures (N, H, W); give the "
            f"file of the pictures"
        )
    x = scaled(squared(pixels, size), white=255)[:, None]
    name = path.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")
    beside = None if name == path.name.removesuffix(".gz") else _there(path.with_name(name))
    if beside is None:
        return x, None
    labels = read_idx(beside)
    if labels.shape != pixels.shape[:1]:
        raise ValueError(
            f"{beside} holds labels of shape {labels.shape} for {len(pixels)} pictures; restore it"
        )
    return x, torch.from_numpy(labels.astype(np.int64))


def _images(x: Tensor, labels: Tensor | None, held_out: Tensor) -> Images:
    names = () if labels is None else tuple(map(str, range(int(labels.max()) + 1)))
    return Images(x, labels, names, held_out)


def _there(path: Path) -> Path | None:
    """Return the file, plain or gzipped, or None."""
    found = (path, path.with_name(f"{path.name}.gz"))
    return next((place for place in found if place.is_file()), None)
