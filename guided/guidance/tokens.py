"""Tokens and the sample they stand for: where attention looks, and blurs."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from guided.nets.attention import smoothed

Blur = Callable[[Tensor], Tensor]

Spread = Callable[[Tensor, Sequence[int], Tensor], Tensor]
"""Maps (one number per token (B, T), the tokens' grid, x) to what broadcasts against x."""


def saliency(maps: Tensor) -> Tensor:
    """Return how much every token is looked at, 1 on average: (B, H, T, T) -> (B, T).

    Raises:
        ValueError: for one token.
    """
    if maps.shape[-1] == 1:
        raise ValueError(
            "SAG needs attention over more than one token, got one, which sees only itself; use "
            "another weak branch, such as an early snapshot or a skipped layer"
        )
    full = torch.promote_types(maps.dtype, torch.float32)
    return maps.to(full).mean(1).sum(-2)


def spread_tokens(values: Tensor, grid: Sequence[int], x: Tensor) -> Tensor:
    """Lay numbers of tokens (B, T) on x: on its axis 1, or as patches on its last axes.

    Raises:
        ValueError: for tokens that do not lie on x.
    """
    if len(grid) == 1 and x.ndim > 1 and x.shape[1] == grid[0]:
        return values.reshape(*values.shape, *[1] * (x.ndim - 2))
    space = x.shape[2:]
    patches = 1 < len(grid) == len(space)
    if not patches or any(a % b for a, b in zip(space, grid, strict=True)):
        raise ValueError(
            f"tokens on a grid of {tuple(grid)} do not lie on x of shape {tuple(x.shape)} as rows "
            f"of axis 1 or patches of the axes behind it; give a spread and a blur of your own"
        )
    return functional.interpolate(values.reshape(len(x), 1, *grid), space, mode="nearest")


def blurred_rows(sigma: float, axes: Sequence[int]) -> Blur:
    """Return a Gaussian blur of x (B, ...) over some axes, by sigma in places, above 0."""
    return lambda x: smoothed(x, sigma, axes)
