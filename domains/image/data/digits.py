"""The 1,797 handwritten digits of 8 x 8 pixels that come with scikit-learn."""

import torch

from domains.image.data.images import Images, drawn_split, scaled
from guided.command import packages_named

TRAIN = 1000
"""Digits that may be trained on; the other 797 are held out."""


def digits() -> Images:
    """Return the digits, x0 (1797, 1, 8, 8); the same 1,000 are trained on always.

    Raises:
        ValueError: where scikit-learn is missing.

    Source: Alpaydin & Kaynak 1998, Optical recognition of handwritten digits (UCI), test part.
    """
    with packages_named("image"):
        from sklearn.datasets import load_digits

    data = load_digits()
    x0 = scaled(data.images, white=16)[:, None]
    labels = torch.from_numpy(data.target).long()
    held_out = drawn_split(len(x0), test=len(x0) - TRAIN)
    return Images(x0, labels, tuple(str(name) for name in data.target_names), held_out)
