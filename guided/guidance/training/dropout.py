"""Conditions dropped at random in training, so that one network knows all their subsets."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Generator, Tensor

from guided.cond import tree_map
from guided.rng import Rng
from guided.train import Batch

Null = Callable[[Any], Any]


def dropped(
    cond: Mapping[str, Any], nulls: Mapping[str, Null], rates: Mapping[str, float], rng: Rng
) -> dict[str, Any]:
    """Replace each condition of each row by its null, independently, with a rate of its own.

    Guidance by several conditions needs all their subsets in training: one rate for all of them
    together would never show a network one condition without the others.

    Args:
        cond: conditions by name, each a tree of tensors with leading axis B.
        nulls: for every condition that may be dropped, what maps it to the null condition, of the
            same shapes: a learned token, or a reference that means something, such as the idle
            action, which the network must then see with the samples that belong to it.
        rates: its probability; 0 is neutral, 1 always drops. One without a rate is never dropped.
        rng: draws (B,) numbers for every rate, in the order of ``rates``.

    Raises:
        ValueError: for rates of conditions that are not there or have no null, or outside [0, 1].

    Source: Ho & Salimans 2022, Classifier-free diffusion guidance, algorithm 1; Brooks et al. 2023,
        InstructPix2Pix, section 3.2.1 (several conditions).
    """
    _check(cond, nulls, rates)
    found = dict(cond)
    for name, rate in rates.items():
        found[name] = _replaced(cond[name], nulls[name](cond[name]), rate, rng)
    return found


def with_dropout(batch: Batch, nulls: Mapping[str, Null], rates: Mapping[str, float]) -> Batch:
    """Return batches for :func:`guided.train.train` with conditions dropped as in :func:`dropped`.

    Args:
        batch: maps (step, generator) to (x0, conditions by name).
        nulls: see :func:`dropped`.
        rates: see :func:`dropped`.
    """

    def transformed(step: int, generator: Generator) -> tuple[Tensor, Any]:
        x0, cond = batch(step, generator)
        return x0, dropped(cond, nulls, rates, Rng.wrap(generator))

    return transformed


def _replaced(cond: Any, null: Any, rate: float, rng: Rng) -> Any:
    leaves: list[Tensor] = []
    tree_map(leaves.append, cond)
    chosen = rng.uniform((len(leaves[0]),)) < rate

    def pick(leaf: Tensor, nothing: Tensor) -> Tensor:
        rows = chosen.to(leaf.device).reshape(-1, *[1] * (leaf.ndim - 1))
        return torch.where(rows, nothing, leaf)

    return tree_map(pick, cond, null)


def _check(cond: Mapping[str, Any], nulls: Mapping[str, Null], rates: Mapping[str, float]) -> None:
    for name, rate in rates.items():
        if name not in cond or name not in nulls:
            raise ValueError(
                f"a rate is given for the condition {name!r}, but there are conditions "
                f"{sorted(cond)} and nulls {sorted(nulls)}; name one that has both"
            )
        if not 0 <= rate <= 1:
            raise ValueError(f"the rate of {name!r} is a probability in [0, 1], got {rate}")
