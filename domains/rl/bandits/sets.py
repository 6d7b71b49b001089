r"""Six bandits with actions in the plane: a law q of logged actions, and a reward for each.

Rewards lie in [0, 1]; the target is :math:`p(x) \propto q(x)\, E[e^{\beta r} | x]`. Where
parts of q overlap, a reward belongs to the part that an action was drawn from, as labels do.

============  ============================================  ==================================
name          q                                             reward
============  ============================================  ==================================
8gaussians    eight normals on a circle                     number of the normal / 7
moons         two half circles                              0 upper, 1 lower
rings         four circles                                  2/3, 1/3, 1, 0, from the outermost
checkerboard  eight of sixteen squares                      columns 0, 1, 0, 1
2spirals      two spirals of angle n, up to 1.5 turns       1 - n / 10
swissroll     one spiral                                    squared distance / 9, at most 1
============  ============================================  ==================================

Source: common test laws of density models (e.g. the code of Grathwohl et al. 2019, FFJORD); the
    rewards follow the 2-D experiments of Lu et al. 2023, Contrastive energy prediction.
Differs: the order of the eight normals and the rewarded columns of the board are chosen here. The
    reward of the roll ends at 1: without a bound, one draw of q in 50,000 is all of the target.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from guided.rng import Rng

MODES, RADIUS, SPREAD = 8, 4 / math.sqrt(2), 0.5 / math.sqrt(2)  # of 8gaussians
RING_REWARDS = (2 / 3, 1 / 3, 1.0, 0.0)


class Logged(NamedTuple):
    """Actions (N, 2) and their rewards (N,)."""

    x: Tensor
    reward: Tensor


def centres() -> Tensor:
    """Return the means of the eight normals, anticlockwise from the right, (8, 2)."""
    angle = torch.arange(MODES) * (2 * math.pi / MODES)
    return RADIUS * torch.stack([angle.cos(), angle.sin()], 1)


def eight_gaussians(n: int, rng: Rng) -> Logged:
    """Draw n actions from eight equal normals."""
    mode = rng.integers(0, MODES, (n,))
    return Logged(centres()[mode] + SPREAD * rng.normal((n, 2)), mode / (MODES - 1))


def moons(n: int, rng: Rng) -> Logged:
    """Draw n actions from two half circles that reach into each other."""
    lower, angle = rng.integers(0, 2, (n,)), math.pi * rng.uniform((n,))
    sign = 1.0 - 2.0 * lower
    x = torch.stack([sign * angle.cos() + lower, sign * angle.sin() + 0.5 * lower], 1)
    noisy = x + 0.1 * rng.normal((n, 2))
    return Logged(2 * noisy + torch.tensor([-1.0, -0.2]), lower.float())


def rings(n: int, rng: Rng) -> Logged:
    """Draw n actions from four equally likely circles around the origin."""
    ring, angle = rng.integers(0, 4, (n,)), 2 * math.pi * rng.uniform((n,))
    circle = torch.stack([angle.cos(), angle.sin()], 1)
    x = 3 * (1 - ring / 4)[:, None] * circle + 0.08 * rng.normal((n, 2))
    return Logged(x, torch.tensor(RING_REWARDS)[ring])


def checkerboard(n: int, rng: Rng) -> Logged:
    """Draw n actions from every second square of a board of 4 x 4."""
    place = rng.uniform((n, 2))
    column, pair = rng.integers(0, 4, (n,)), rng.integers(0, 2, (n,))
    row = 2 * pair + column % 2
    x = 2 * (torch.stack([column, row], 1) + place) - 4
    return Logged(x, (column % 2).float())


def two_spirals(n: int, rng: Rng) -> Logged:
    """Draw n actions from two spirals that wind around each other."""
    angle = 3 * math.pi * rng.uniform((n,)).sqrt()
    arm = torch.stack([-angle.cos(), angle.sin()], 1) * angle[:, None]
    sign = 1.0 - 2.0 * rng.integers(0, 2, (n,))
    x = sign[:, None] * (arm + 0.5 * rng.uniform((n, 2))) / 3 + 0.1 * rng.normal((n, 2))
    return Logged(x, (1 - angle / 10).clamp(0, 1))


def swissroll(n: int, rng: Rng) -> Logged:
    """Draw n actions from one spiral."""
    angle = 1.5 * math.pi * (1 + 2 * rng.uniform((n,)))
    roll = torch.stack([angle.cos(), angle.sin()], 1) * angle[:, None]
    x = (roll + rng.normal((n, 2))) / 5
    return Logged(x, (x.square().sum(1) / 9).clamp(max=1))


SETS: dict[str, Callable[[int, Rng], Logged]] = {
    "8gaussians": eight_gaussians,
    "moons": moons,
    "rings": rings,
    "checkerboard": checkerboard,
    "2spirals": two_spirals,
    "swissroll": swissroll,
}
