"""The digits, the value that all sources return, and the one entry to them."""

import dataclasses
import warnings

import numpy as np
import pytest
import torch

from domains.image.data.digits import digits
from domains.image.data.images import Images, drawn_split, scaled
from domains.image.data.source import load_images


def test_the_digits_are_those_of_scikit_learn_in_minus_one_to_one() -> None:
    from sklearn.datasets import load_digits

    images, source = digits(), load_digits()
    assert images.x.shape == (1797, 1, 8, 8) and images.x.dtype == torch.float32
    assert images.x.min() == -1 and images.x.max() == 1
    np.testing.assert_allclose((images.x[:, 0].numpy() + 1) * 8, source.images)
    np.testing.assert_array_equal(images.labels.numpy(), source.target)
    assert images.names == tuple("0123456789")


def test_the_split_is_1000_to_797_and_always_the_same() -> None:
    images = digits()
    assert (len(images.train), len(images.test)) == (1000, 797)
    assert torch.equal(images.held_out, digits().held_out)
    # Every digit occurs on both sides, about as often.
    counts = images.train.labels.bincount(minlength=10)
    assert counts.min() > 80 and counts.max() < 120
    # No picture is on both sides.
    both = torch.cdist(images.train.x.flatten(1), images.test.x.flatten(1)).min()
    assert both > 0


def test_train_and_test_are_the_pictures_that_the_mask_says() -> None:
    x = torch.arange(5.0)[:, None, None, None].expand(5, 1, 2, 2)
    held_out = torch.tensor([False, True, False, False, True])
    images = Images(x, torch.tensor([0, 1, 1, 0, 0]), ("a", "b"), held_out)
    assert images.train.x[:, 0, 0, 0].tolist() == [0, 2, 3]
    assert images.test.labels.tolist() == [1, 0]
    assert images.test.held_out.all() and not images.train.held_out.any()
    bare = dataclasses.replace(images, labels=None, names=())
    assert bare.train.labels is None and len(bare.test) == 2


def test_a_drawn_split_has_the_number_asked_for_and_another_seed_draws_another() -> None:
    first, second = drawn_split(100, test=30), drawn_split(100, test=30, seed=1)
    assert int(first.sum()) == int(second.sum()) == 30
    assert not torch.equal(first, second)


def test_scaled_maps_black_and_white_to_the_ends() -> None:
    pixels = np.array([0, 255, 51], dtype=np.uint8)
    torch.testing.assert_close(scaled(pixels, white=255), torch.tensor([-1.0, 1.0, -0.6]))
    assert pixels.dtype == np.uint8


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.zeros(3, dtype=torch.long), "one label a picture"),
        (torch.tensor([0, 2]), "labels must be 0 to 1"),
        (torch.tensor([-1, 0]), "got -1 to 0"),
    ],
)
def test_labels_that_do_not_go_with_the_pictures_are_refused(labels, message) -> None:
    with pytest.raises(ValueError, match=message):
        Images(torch.zeros(2, 1, 4, 4), labels, ("a", "b"), torch.zeros(2, dtype=torch.bool))


def test_the_entry_finds_the_digits_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images = load_images("digits")
    assert torch.equal(images.x, digits().x)
    assert load_images("digits", size=8).x.shape == (1797, 1, 8, 8)


@pytest.mark.parametrize(
    ("source", "size", "message"),
    [
        ("digits", 16, "the digits are 8 x 8, got a size of 16"),
        ("nowhere", None, "nowhere is no data set, file or folder"),
        ("digits", 0, "at least 1 pixel, got 0"),
    ],
)
def test_mistakes_at_the_entry(source, size, message) -> None:
    with pytest.raises(ValueError, match=message):
        load_images(source, size)
