"""Folders of pictures: classes, colours, sizes, and files that are none."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from domains.image.data.folder import folder
from domains.image.data.source import load_images


def write(path: Path, pixels: np.ndarray, mode: str | None = None) -> None:
    """Write a picture without loss."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels.astype(np.uint8))
    (image.convert(mode) if mode else image).save(path)


def random_pixels(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape)


def test_subfolders_are_classes_in_the_order_of_their_names(tmp_path: Path) -> None:
    pictures = {f"{name}/{i}.png": random_pixels(i, 4, 6) for i, name in enumerate("bab")}
    for name, pixels in pictures.items():
        write(tmp_path / name, pixels)
    (tmp_path / "empty").mkdir()
    (tmp_path / "b" / "notes.txt").write_text("no picture")
    images = folder(tmp_path)
    assert images.names == ("a", "b") and images.labels.tolist() == [0, 1, 1]
    assert images.x.shape == (3, 1, 4, 6)
    for row, name in enumerate(sorted(pictures)):
        expected = torch.from_numpy(pictures[name] / 127.5 - 1).float()
        torch.testing.assert_close(images.x[row, 0], expected)


def test_a_flat_folder_has_no_labels_and_a_tenth_is_held_out(tmp_path: Path) -> None:
    for i in range(20):
        write(tmp_path / f"{i:02}.png", random_pixels(i, 4, 4))
    images = load_images(tmp_path)
    assert images.labels is None and images.names == ()
    assert int(images.held_out.sum()) == 2


def test_colours_have_three_channels_and_may_be_made_grey(tmp_path: Path) -> None:
    colour = random_pixels(0, 4, 4, 3)
    write(tmp_path / "a.png", colour)
    write(tmp_path / "b.png", random_pixels(1, 4, 4))
    images = folder(tmp_path)
    assert images.x.shape == (2, 3, 4, 4)
    expected = torch.from_numpy(colour / 127.5 - 1).float().permute(2, 0, 1)
    torch.testing.assert_close(images.x[0], expected)
    assert (images.x[1, 0] == images.x[1, 2]).all()  # grey among colours
    grey = folder(tmp_path, grey=True).x
    assert grey.shape == (2, 1, 4, 4)
    luma = (colour @ np.array([299, 587, 114]) / 1000) / 127.5 - 1  # of ITU-R 601, as JPEG has
    np.testing.assert_allclose(grey[0, 0].numpy(), luma, atol=1.5 / 127.5)


@pytest.mark.parametrize("channels", [2, 4])
def test_what_is_transparent_is_white(tmp_path: Path, channels: int) -> None:
    pixels = np.zeros((4, 4, channels))
    pixels[:2, :, -1] = 255  # the upper half is opaque black, the lower transparent
    write(tmp_path / "a.png", pixels)
    images = folder(tmp_path)
    assert images.x.shape[1] == channels - 1
    assert (images.x[0, :, :2] == -1).all() and (images.x[0, :, 2:] == 1).all()


def test_a_size_cuts_the_square_in_the_middle(tmp_path: Path) -> None:
    wide = np.repeat(np.repeat([[0, 100, 200, 50]], 4, 0).reshape(4, 4), 2, 1)  # 4 x 8
    write(tmp_path / "a.png", wide)
    write(tmp_path / "b.png", np.full((12, 8), 100))
    images = folder(tmp_path, size=4)
    assert images.x.shape == (2, 1, 4, 4)
    expected = torch.from_numpy(wide[:, 2:6] / 127.5 - 1).float()
    torch.testing.assert_close(images.x[0, 0], expected)
    torch.testing.assert_close(images.x[1], torch.full((1, 4, 4), 100 / 127.5 - 1))


def test_the_orientation_of_a_camera_is_obeyed(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 255], [0, 255], [0, 255]], np.uint8))
    exif = image.getexif()
    exif[0x0112] = 3  # turned by half a turn
    image.save(tmp_path / "a.png", exif=exif)
    assert folder(tmp_path).x[0, 0, 0].tolist() == [1, -1]


def test_pictures_far_from_zero_are_warned_of(tmp_path: Path) -> None:
    write(tmp_path / "a.png", np.full((4, 4), 20))
    with pytest.warns(UserWarning, match=r"mean -0\.84 .* far from 0"):
        load_images(tmp_path)


def broken(path: Path) -> None:
    (path / "a.png").write_bytes(b"no picture at all")


def truncated(path: Path) -> None:
    write(path / "a.png", random_pixels(0, 64, 64))
    data = (path / "a.png").read_bytes()
    (path / "a.png").write_bytes(data[: len(data) // 2])


def deep(path: Path) -> None:
    Image.fromarray(np.arange(16, dtype=np.uint16).reshape(4, 4) * 4000).save(path / "a.png")


def two_sizes(path: Path) -> None:
    write(path / "a.png", random_pixels(0, 4, 4))
    write(path / "b.png", random_pixels(1, 6, 5))


def mixed(path: Path) -> None:
    write(path / "a.png", random_pixels(0, 4, 4))
    write(path / "cats" / "b.png", random_pixels(0, 4, 4))


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (broken, "cannot read the picture .*a.png"),
        (truncated, "cannot read the picture .*a.png"),
        (deep, "a.png has more than 8 bits a channel"),
        (two_sizes, "got 5 x 6 in .*b.png after 4 x 4 in .*a.png; give a size"),
        (mixed, "has pictures in it and in its folder cats"),
        (lambda path: None, "has no pictures in it"),
    ],
    ids=["broken", "truncated", "deep", "two sizes", "mixed", "none"],
)
def test_what_is_no_folder_of_pictures_is_refused_in_one_sentence(
    tmp_path: Path, made, message: str
) -> None:
    made(tmp_path)
    with pytest.raises(ValueError, match=message) as refused:
        folder(tmp_path)
    assert "\n" not in str(refused.value)
    assert re.search(r"; \w+ ", str(refused.value))  # how to mend it
