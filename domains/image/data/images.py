"""Pictures as numbers: the value that every source returns.

Pixels are in [-1, 1], black to white, so that mid-grey is 0. Methods that project on the origin
(adaptive projected guidance) suppose that the data lie about it.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

FAR = 0.5
"""A mean of the pixels beyond which the data do not lie about 0."""

TEST_SHARE = 0.1
"""Share that is held out of a source with no split of its own."""


@dataclass(frozen=True)
class Images:
    """Pictures with their labels, and which of them are held out.

    Args:
        x: pixels in [-1, 1], shape (N, C, H, W).
        labels: classes 0, ..., len(names) - 1, shape (N,); None = no labels.
        names: of the classes; empty without labels.
        held_out: which are kept from training, shape (N,), boolean.

    Raises:
        ValueError: for shapes that do not go together, or labels outside the names.
    """

    x: Tensor
    labels: Tensor | None
    names: tuple[str, ...]
    held_out: Tensor

    def __post_init__(self) -> None:
        lengths = [len(t) for t in (self.held_out, self.labels) if t is not None]
        if self.x.ndim != 4 or any(length != len(self.x) for length in lengths):
            raise ValueError(
                f"pictures must be (N, C, H, W) with N labels, got {tuple(self.x.shape)} with "
                f"{lengths[-1]}; give one label a picture"
            )
        if self.labels is not None and len(self.labels) and not self._named(self.labels):
            raise ValueError(
                f"labels must be 0 to {len(self.names) - 1}, one a name, got "
                f"{int(self.labels.min())} to {int(self.labels.max())}"
            )

    def __len__(self) -> int:
        return len(self.x)

    @property
    def train(self) -> "Images":
        """The pictures that may be trained on."""
        return self.take(~self.held_out)

    @property
    def test(self) -> "Images":
        """The pictures that are held out."""
        return self.take(self.held_out)

    def take(self, index: Tensor) -> "Images":
        """Select pictures by index or mask."""
        labels = None if self.labels is None else self.labels[index]
        return Images(self.x[index], labels, self.names, self.held_out[index])

    def _named(self, labels: Tensor) -> bool:
        return 0 <= int(labels.min()) and int(labels.max()) < len(self.names)


def require_held_out(images: Images) -> None:
    """Refuse pictures of which none is held out.

    Raises:
        ValueError: in words.
    """
    if not images.held_out.any():
        raise ValueError(f"none of {len(images)} pictures is held out; give more pictures")


def scaled(pixels: np.ndarray, white: float) -> Tensor:
    """Return pixels 0, ..., white as numbers in [-1, 1], in the same shape."""
    return torch.from_numpy(np.asarray(pixels, dtype=np.float32) * (2 / white) - 1)


def drawn_split(count: int, test: int, seed: int = 0) -> Tensor:
    """Return which of ``count`` pictures are held out: ``test`` of them, drawn by seed."""
    held_out = np.zeros(count, dtype=bool)
    held_out[np.random.default_rng(seed).permutation(count)[:test]] = True
    return torch.from_numpy(held_out)


def warn_off_centre(images: Images) -> None:
    """Warn where the pictures lie far from 0, with their mean."""
    mean = images.x.mean().item()
    if abs(mean) > FAR:
        warnings.warn(
            f"the pixels have mean {mean:.2f} on a scale of -1 to 1, far from 0; guidance that "
            f"projects on the origin (APG) will change their brightness",
            stacklevel=3,
        )
