"""A condition and a sample that are jointly Gaussian on the line, at one noise level: all affine.

c is N(0, 1), x0 given c is N(c, V), and x = ALPHA x0 + SIGMA eps. A condition is {"c":
(B, 2)}: c and a flag, both 0 for the null condition.
"""

from dataclasses import dataclass

import torch
from torch import nn

from guided.schedule import Schedule

ALPHA, SIGMA, V = 0.8, 0.6, 0.5
GIVEN = ALPHA * V / (ALPHA**2 * V + SIGMA**2)  # E[x0 | x, c] = GIVEN x + (1 - GIVEN ALPHA) c
ALONE = ALPHA * (1 + V) / (ALPHA**2 * (1 + V) + SIGMA**2)  # E[x0 | x] = ALONE x


@dataclass(frozen=True)
class OneLevel(Schedule):
    """The same noise at all times."""

    def _coefficients(self, t):
        return torch.full_like(t, ALPHA), torch.full_like(t, SIGMA)

    def time(self, ratio):
        return 0.5


class Line(nn.Module):
    """Everything that is affine in x and c, apart for the null condition."""

    def __init__(self):
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(3))

    def forward(self, x, time, cond):
        alone, more, side = self.weights
        c, flag = cond["c"].split(1, dim=1)
        return (alone + more * flag) * x + side * c

    def coefficients(self):
        """Of x without a condition, and of x and c with one."""
        alone, more, side = self.weights.tolist()
        return alone, alone + more, side


def batch(step, generator, size=1024):
    c, noise = torch.randn(2, size, 1, generator=generator)
    return c + V**0.5 * noise, {"c": torch.cat([c, torch.ones_like(c)], 1)}
