"""Conditions: any tree (None, tensor, dict, list, tuple) of tensors with leading axis B.

Plain Python numbers in a tree are constants shared by all rows.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def tree_map(function: Callable[..., Any], *trees: Any) -> Any:
    """Apply ``function`` to the matching leaves of trees of one shape; None and numbers stay.

    Raises:
        TypeError: for a leaf that is no tensor.
    """
    first = trees[0]
    if first is None or isinstance(first, int | float):
        return first
    if isinstance(first, Tensor):
        return function(*trees)
    if isinstance(first, dict):
        return {key: tree_map(function, *(tree[key] for tree in trees)) for key in first}
    if isinstance(first, list | tuple):
        parts = [tree_map(function, *rows) for rows in zip(*trees, strict=True)]
        if isinstance(first, tuple):
            return type(first)(*parts) if hasattr(first, "_fields") else tuple(parts)
        return parts
    raise TypeError(
        f"a condition is a tree of tensors (None, tensor, dict, list, tuple), got a leaf of type "
        f"{type(first).__name__}; turn it into a tensor with leading axis B"
    )


def repeat(cond: Any, n: int) -> Any:
    """Repeat every row ``n`` times, side by side: (B, ...) -> (B n, ...)."""
    if n == 1:
        return cond
    return tree_map(lambda leaf: leaf.repeat_interleave(n, dim=0), cond)


def take(cond: Any, index: Tensor) -> Any:
    """Select the rows ``index`` (M,) of every leaf: (B, ...) -> (M, ...)."""
    return tree_map(lambda leaf: leaf[index.to(leaf.device)], cond)


def rows(cond: Any, start: int, stop: int) -> Any:
    """Slice the rows start:stop of every leaf, without a copy."""
    return tree_map(lambda leaf: leaf[start:stop], cond)


def concat(conds: Sequence[Any]) -> Any:
    """Stack conditions of one structure along axis 0."""
    return tree_map(lambda *leaves: torch.cat(leaves), *conds)


def alike(a: Any, b: Any) -> bool:
    """Return whether two conditions are of one structure, so that they can be stacked."""
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.shape[1:] == b.shape[1:] and a.dtype == b.dtype
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(alike(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        same = type(a) is type(b) and len(a) == len(b)
        return same and all(alike(x, y) for x, y in zip(a, b, strict=True))
    return type(a) is type(b) and a == b
