"""What every operator on pictures is: a map with a fixed shape in and out."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from guided.operator import Operator


class Degradation(ABC):
    """A map of pictures x0 (B, C, H, W) in [-1, 1] to what is measured of them, without noise.

    Args:
        shape: of one picture, (C, H, W).

    Attributes:
        shape: of one picture.
        out: shape of one output.
        linear: whether it is a matrix times the pixels.
        differentiable: whether gradients pass through it.

    Raises:
        ValueError: for a shape that is none of a picture.
    """

    linear: bool = True
    differentiable: bool = True

    def __init__(self, shape: Sequence[int]) -> None:
        if len(shape) != 3 or min(shape) < 1:
            raise ValueError(
                f"a picture has the shape (C, H, W) with sizes of at least 1, got {tuple(shape)}; "
                f"give it without the batch axis"
            )
        channels, height, width = shape
        self.shape = (channels, height, width)

    @property
    @abstractmethod
    def out(self) -> tuple[int, ...]:
        """The shape of one output."""

    @abstractmethod
    def apply(self, x0: Tensor) -> Tensor:
        """Return the outputs (B, *out) of pictures x0 (B, C, H, W)."""

    def __call__(self, x0: Tensor) -> Tensor:
        """Return the outputs (B, *out) of pictures x0 (B, C, H, W).

        Raises:
            ValueError: for pictures of another shape.
        """
        if x0.shape[1:] != self.shape:
            raise ValueError(
                f"this {type(self).__name__} is for pictures of shape (B, "
                f"{', '.join(map(str, self.shape))}), got {tuple(x0.shape)}; build it for them"
            )
        return self.apply(x0)

    def operator(self, y: Tensor, noise: float) -> Operator:
        """Return the operator of measurements y (P, *out) with noise of a standard deviation.

        Raises:
            ValueError: for measurements of another shape.
        """
        if y.shape[1:] != self.out:
            raise ValueError(
                f"{type(self).__name__} measures (P, {', '.join(map(str, self.out))}), got "
                f"{tuple(y.shape)}; give one row a picture"
            )
        return Operator(self, y, noise, differentiable=self.differentiable)

    def matrix(self, dtype: torch.dtype = torch.float64) -> Tensor:
        """Return A of shape (r, C H W), with which y = A x0 over flattened pictures.

        Raises:
            ValueError: for a map that is not linear.
        """
        if not self.linear:
            raise ValueError(
                f"{type(self).__name__} is not linear and has no matrix; use a method that takes "
                f"any operator, such as EnKG or SCG"
            )
        size = self.shape[0] * self.shape[1] * self.shape[2]
        axes = torch.eye(size, dtype=dtype).unflatten(1, self.shape)
        return self(axes).flatten(1).mT.contiguous()

    def picture(self, y: Tensor) -> Tensor:
        """Return measurements (P, *out) as pictures (P, C, h, w) to look at; NaN is not seen."""
        return y
