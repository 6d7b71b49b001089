"""A multilayer perceptron over flat samples: toy densities, actions, critics."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from guided.nets.embed import FourierTime


class MLP(nn.Module):
    """Layers of SiLU units on the concatenation of x, time features and the condition.

    Args:
        dim_in: numbers in one sample; samples of higher rank are flattened.
        dim_out: numbers in one output; equal to ``dim_in``, the output has the shape of x.
        hidden: widths of the hidden layers.
        time_features: width of the time embedding.
        cond_dim: width of the condition; 0 = none.
    """

    def __init__(
        self,
        dim_in: int,
        dim_out: int,
        hidden: Sequence[int] = (256, 256),
        time_features: int = 64,
        cond_dim: int = 0,
    ) -> None:
        super().__init__()
        self.dim_in, self.dim_out, self.cond_dim = dim_in, dim_out, cond_dim
        self.time = FourierTime(time_features)
        widths = [dim_in + time_features + cond_dim, *hidden]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.out = nn.Linear(widths[-1], dim_out)

    def forward(self, x: Tensor, time: Tensor, cond: Tensor | None = None) -> Tensor:
        """Evaluate the network.

        Args:
            x: shape (B, dim_in), or (B, ...) with dim_in numbers a sample.
            time: shape (B,).
            cond: shape (B, cond_dim); None if cond_dim is 0.

        Returns:
            The shape of x if dim_out equals dim_in, else (B, dim_out).

        Raises:
            ValueError: for another number of inputs, or a condition that is missing or unexpected.
        """
        flat = x.flatten(1)
        if flat.shape[1] != self.dim_in:
            raise ValueError(
                f"MLP expects {self.dim_in} numbers a sample, got x of {tuple(x.shape)}"
            )
        if (cond is None) != (self.cond_dim == 0):
            got = "none" if cond is None else f"one of shape {tuple(cond.shape)}"
            raise ValueError(f"MLP has cond_dim={self.cond_dim}, but was given as condition: {got}")
        parts = [flat, self.time(time.to(x.dtype))] + ([] if cond is None else [cond.to(x.dtype)])
        h = torch.cat(parts, dim=-1)
        for layer in self.layers:
            h = nn.functional.silu(layer(h))
        out = self.out(h)
        return out.reshape(x.shape) if self.dim_out == self.dim_in else out
