"""Tokens and the sample they stand for: where attention looks, and blurs."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

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


def token_axes(grid: Sequence[int], x: Tensor) -> range:
    """Return the axes of x along which the tokens lie: x is (B, tokens, C), or (B, C, places).

    Raises:
        ValueError: for tokens that do not lie in x, or a patch of which is no whole one.
    """
    grid, size = tuple(grid), len(grid)
    if size and tuple(x.shape[1 : 1 + size]) == grid:
        return range(1, 1 + size)
    places = tuple(x.shape[2:])
    if not size or len(places) != size or any(n % g for n, g in zip(places, grid, strict=True)):
        raise ValueError(
            f"tokens on a grid of {' x '.join(map(str, grid))} do not lie in x of shape "
            f"{tuple(x.shape)}; it is (B, tokens, C), or (B, C, places) with whole patches"
        )
    return range(2, 2 + size)


def laid(values: Tensor, grid: Sequence[int], x: Tensor) -> Tensor:
    """Return numbers of tokens (B, T) as they lie in x (B, ...), to broadcast against it."""
    axes = token_axes(grid, x)
    values = values.reshape(
        len(values), *[1] * (axes[0] - 1), *grid, *[1] * (x.ndim - 1 - axes[-1])
    )
    for axis in axes:
        values = values.repeat_interleave(x.shape[axis] // values.shape[axis], axis)
    return values


def blurred_rows(sigma: float, axes: Sequence[int]) -> Blur:
    """Return a Gaussian blur of x (B, ...) over some axes, by sigma in places, above 0."""
    return lambda x: smoothed(x, sigma, axes)
