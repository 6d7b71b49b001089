"""IDX files, written here byte by byte: plain and gzipped, with labels, and damaged."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from domains.image.data.idx import idx, read_idx
from domains.image.data.source import load_images

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 5, 4)).astype(np.uint8)
LABELS = np.random.default_rng(1).integers(0, 3, 20).astype(np.uint8)
LABELS[:3] = 0, 1, 2


def as_idx(array: np.ndarray, kind: int = 8) -> bytes:
    head = struct.pack(">HBB", 0, kind, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.tobytes()


def test_pictures_and_the_labels_beside_them(tmp_path: Path) -> None:
    (tmp_path / "my-images-idx3-ubyte").write_bytes(as_idx(PIXELS))
    (tmp_path / "my-labels-idx1-ubyte.gz").write_bytes(gzip.compress(as_idx(LABELS)))
    images = load_images(tmp_path / "my-images-idx3-ubyte")
    assert images.x.shape == (20, 1, 5, 4)
    torch.testing.assert_close(images.x[:, 0], torch.from_numpy(PIXELS / 127.5 - 1).float())
    assert images.labels.tolist() == LABELS.tolist() and images.names == ("0", "1", "2")
    assert int(images.held_out.sum()) == 2


def test_a_gzipped_file_reads_the_same_and_needs_no_labels(tmp_path: Path) -> None:
    path = tmp_path / "pictures.gz"
    path.write_bytes(gzip.compress(as_idx(PIXELS)))
    images = idx(path)
    assert images.labels is None and images.names == ()
    np.testing.assert_array_equal(read_idx(path), PIXELS)
    assert idx(path, size=3).x.shape == (20, 1, 3, 3)


def test_a_folder_as_mnist_comes_holds_out_its_test_files(tmp_path: Path) -> None:
    for name, part in (("train", slice(0, 14)), ("t10k", slice(14, 20))):
        images = gzip.compress(as_idx(PIXELS[part]))
        (tmp_path / f"{name}-images-idx3-ubyte.gz").write_bytes(images)
        (tmp_path / f"{name}-labels-idx1-ubyte").write_bytes(as_idx(LABELS[part]))
    images = load_images(tmp_path)
    assert images.held_out.tolist() == [False] * 14 + [True] * 6
    assert images.test.labels.tolist() == LABELS[14:].tolist()
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(ValueError, match="do not go together"):
        load_images(tmp_path)
    (tmp_path / "t10k-images-idx3-ubyte.gz").unlink()
    with pytest.raises(ValueError, match="has no t10k-images-idx3-ubyte"):
        load_images(tmp_path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "starts with nothing"),
        (b"\x89PNG\r\n\x1a\n", "starts with 89 50 4e 47"),
        (as_idx(PIXELS, kind=13), "no IDX file of unsigned bytes"),
        (as_idx(PIXELS)[:-1], "says that it holds 20 x 5 x 4 bytes but holds 399"),
        (as_idx(PIXELS) + b"0", "but holds 401"),
        (as_idx(PIXELS)[:8], "says that it holds no bytes but holds 0"),
        (as_idx(LABELS), r"holds numbers of shape \(20,\), expected pictures"),
        (as_idx(PIXELS[:0]), "expected pictures"),
        (struct.pack(">HBB3I", 0, 8, 3, 2**31, 2**31, 2**31), "restore it"),
    ],
)
def test_another_file_is_refused_by_what_it_holds(tmp_path: Path, data, message) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message):
        idx(path)


@pytest.mark.parametrize("data", [b"no gzip", gzip.compress(as_idx(PIXELS))[:-20]])
def test_a_damaged_gzip_is_named(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "file.gz"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"cannot read .*file\.gz"):
        idx(path)


def test_labels_of_another_number_are_refused(tmp_path: Path) -> None:
    (tmp_path / "images-idx3").write_bytes(as_idx(PIXELS))
    (tmp_path / "labels-idx1").write_bytes(as_idx(LABELS[:7]))
    with pytest.raises(ValueError, match=r"labels of shape \(7,\) for 20 pictures"):
        idx(tmp_path / "images-idx3")
