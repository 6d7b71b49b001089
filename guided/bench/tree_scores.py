"""Scores of samples of the trees, and their means over seeds with intervals."""

import math
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import NamedTuple

import torch
from scipy import stats
from torch import Tensor

from guided.bench.tree_law import Tree
from guided.metrics import sliced_wasserstein
from guided.rng import Rng, stream_seed

REFERENCE_DRAWS = 8192  # exact draws of each tree
PROJECTIONS = 64


class Scored(NamedTuple):
    """Samples (2 n, 2), n of the first tree and n of the second, and what is known of them.

    Args:
        x: the samples.
        density: log densities under the law of their own tree, (2 n,).
        outside: which are less likely than 99 % of exact draws, (2 n,).
        shares: on each part of each tree, (2, PARTS).
        lost: which parts have less than a quarter of their mass, (2, PARTS).
    """

    x: Tensor
    density: Tensor
    outside: Tensor
    shares: Tensor
    lost: Tensor


class Judge:
    """Knows both trees, and exact draws of each.

    Args:
        two: the trees.
        seed: of the draws.
    """

    def __init__(self, two: Sequence[Tree], seed: int) -> None:
        self.two = two
        self.draws = exact_draws(two, REFERENCE_DRAWS, seed)
        densities = self._densities(self.draws)
        self.least = torch.stack([one.quantile(0.01) for one in densities.chunk(2)])
        self.masses = torch.stack([tree.masses for tree in two])

    def scored(self, x: Tensor) -> Scored:
        """Look at samples (2 n, 2)."""
        density = self._densities(x)
        each = zip(self.two, x.chunk(2), strict=True)
        shares = torch.stack([tree.shares(own) for tree, own in each])
        outside = density < self.least.repeat_interleave(len(x) // 2)
        return Scored(x, density, outside, shares, shares < self.masses / 4)

    def figures(self, found: Scored) -> dict[str, float]:
        """Return the figures of the table: means over both trees, and of lost parts the sum."""
        pairs = zip(found.x.chunk(2), self.draws.chunk(2), strict=True)
        return {
            "outliers": 100 * float(found.outside.double().mean()),
            "density": float(found.density.mean()),
            "sw2": fmean(
                sliced_wasserstein(own, draws, Rng(0), projections=PROJECTIONS, order=2)
                for own, draws in pairs
            ),
            "tv": 0.5 * float((found.shares - self.masses).abs().sum(1).mean()),
            "lost": float(found.lost.sum()),
        }

    def _densities(self, x: Tensor) -> Tensor:
        each = zip(self.two, x.chunk(2), strict=True)
        return torch.cat([tree.law.log_prob(own) for tree, own in each])


def exact_draws(two: Sequence[Tree], n: int, seed: int) -> Tensor:
    """Draw n points of each tree, (2 n, 2)."""
    rngs = [Rng(stream_seed(seed, k)) for k in range(len(two))]
    return torch.cat([tree.law.sample(n, rng) for tree, rng in zip(two, rngs, strict=True)])


def mean_and_half(values: Sequence[float]) -> dict[str, float | None]:
    """Return the mean over seeds and half of its 95 % interval by Student's t; None for one."""
    half = None
    if len(values) > 1:
        quantile = float(stats.t.ppf(0.975, len(values) - 1))
        half = quantile * stdev(values) / math.sqrt(len(values))
    return {"mean": fmean(values), "half": half}
