r"""Two trees that grow side by side, as a law of points in the plane: a class each.

A trunk forks into two branches, each of these again, and so on. A branch of length L is a row of
narrow Gaussians. All branches of a generation share the same mass, so that most of the law is thin
twigs: it is easy to land beside them, and easy to leave some out. The crowns reach into each other.

Source: after the tree-shaped density of Karras et al. 2024, Guiding a diffusion model with a bad
    version of itself, section 3.
Differs: in every number, and in that the two trees stand apart.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from guided.exact import Mixture
from guided.rng import Rng, stream_seed

GENERATIONS = 6
BEADS = 8  # Gaussians along a branch
ROOTS = ((-0.3, -0.95), (0.3, -0.95))  # so that the mean is about 0
TRUNK, SHORTER, FORK = 0.55, 0.74, 0.6  # a length, a ratio, and half of an angle in radians
IRREGULAR = 0.25  # share by which lengths and angles vary
THICKNESS = 0.02  # standard deviation across a branch, in its lengths
PARTS_FROM = 3  # the branches of this generation, with all that grows on them, are parts
PARTS = 2 ** (PARTS_FROM + 1) - 1


class Branches(NamedTuple):
    """Branches of a tree, N of them.

    Args:
        start: where they begin, (N, 2).
        angle: where they point, in radians, (N,).
        length: shape (N,).
        generation: how many forks are below, (N,).
        part: which part of the tree they belong to, (N,): a part is a branch near the trunk, or a
            twig with all that grows on it.
    """

    start: Tensor
    angle: Tensor
    length: Tensor
    generation: Tensor
    part: Tensor

    @property
    def along(self) -> Tensor:
        """Their directions, (N, 2)."""
        return torch.stack([self.angle.cos(), self.angle.sin()], -1)


class Tree(NamedTuple):
    """One class.

    Args:
        law: of its points.
        part: of every component of the law, (K,), below ``PARTS``.
        branches: what it is made of.
    """

    law: Mixture
    part: Tensor
    branches: Branches

    def shares(self, x: Tensor) -> Tensor:
        """Return the share of points (n, 2) that is on each part, (PARTS,)."""
        return self._by_part(self.law.responsibilities(x).mean(0))

    @property
    def masses(self) -> Tensor:
        """What the shares are for points of the law itself, (PARTS,)."""
        return self._by_part(self.law.weights)

    def _by_part(self, weights: Tensor) -> Tensor:
        return weights.new_zeros(PARTS).index_add_(0, self.part, weights)


def trees(seed: int) -> tuple[Tree, Tree]:
    """Grow both trees from a seed."""
    left, right = (tree(root, Rng(stream_seed(seed, k))) for k, root in enumerate(ROOTS))
    return left, right


def tree(root: tuple[float, float], rng: Rng) -> Tree:
    """Grow a tree upwards from its root."""
    branches = grown(root, rng)
    count = BEADS * len(branches.angle)
    each = torch.arange(count) // BEADS
    at = (torch.arange(count) % BEADS + 0.5) / BEADS
    along, length = branches.along[each], branches.length[each]
    across = torch.stack([-along[:, 1], along[:, 0]], -1)
    means = branches.start[each] + (at * length)[:, None] * along
    # Beads that are half as long as their distance merge into a line.
    widths = (0.5 / BEADS * length, THICKNESS * length)
    covs = sum(
        (width**2)[:, None, None] * axis[:, :, None] * axis[:, None, :]
        for width, axis in zip(widths, (along, across), strict=True)
    )
    weights = 0.5 ** branches.generation[each].double()
    return Tree(Mixture(weights, means, covs), branches.part[each], branches)


def grown(root: tuple[float, float], rng: Rng) -> Branches:
    """Return the branches of a tree, generation after generation."""
    young = Branches(
        torch.tensor([root], dtype=torch.float64),
        torch.tensor([math.pi / 2], dtype=torch.float64),
        torch.tensor([TRUNK], dtype=torch.float64),
        torch.zeros(1, dtype=torch.long),
        torch.zeros(1, dtype=torch.long),
    )
    all_of_them = [young]
    for _ in range(GENERATIONS - 1):
        young = forked(young, rng)
        all_of_them.append(young)
    return Branches(*(torch.cat(parts) for parts in zip(*all_of_them, strict=True)))


def forked(branches: Branches, rng: Rng) -> Branches:
    """Return the next generation: two branches at the end of each."""
    twice = Branches(*(values.repeat_interleave(2, 0) for values in branches))
    count = len(twice.angle)
    vary = 1 + IRREGULAR * (2 * rng.uniform((2, count), torch.float64) - 1)
    side = torch.arange(count) % 2
    generation = twice.generation + 1
    # As in a heap: the branches before the twigs count on, those after them belong to theirs.
    part = torch.where(generation <= PARTS_FROM, 2 * twice.part + 1 + side, twice.part)
    return Branches(
        twice.start + twice.length[:, None] * twice.along,
        twice.angle + FORK * (1 - 2 * side) * vary[0],
        SHORTER * twice.length * vary[1],
        generation,
        part,
    )
