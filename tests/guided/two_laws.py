"""A class and its null condition as two Gaussians of our choice."""

from typing import Any

import torch

from guided import Denoiser, Level, Prediction
from guided.denoiser import DenoiserWrapper
from guided.schedule import Schedule

F64 = torch.float64


class TwoGaussians(Denoiser):
    """The exact denoiser of N(m, v) elementwise: one law for the label 0, one for its null, 1."""

    def __init__(
        self, schedule: Schedule, means: tuple[float, float], variances: tuple[float, float]
    ) -> None:
        super().__init__()
        self.schedule = schedule
        self.means, self.variances = (torch.tensor(a, dtype=F64) for a in (means, variances))

    def forward(self, x: torch.Tensor, level: Level, cond: Any = None) -> Prediction:
        shape = (-1, *[1] * (x.ndim - 1))
        m, v = (a[cond].to(x).reshape(shape) for a in (self.means, self.variances))
        eps = level.sigma * (x - level.alpha * m) / (level.alpha**2 * v + level.sigma**2)
        return Prediction(m + level.alpha * v * eps / level.sigma, eps)


def dropped(labels: torch.Tensor) -> torch.Tensor:
    """The null condition of it."""
    return torch.ones_like(labels)


class Always(DenoiserWrapper):
    """A denoiser under the label 0 whatever it is given."""

    def forward(self, x: torch.Tensor, level: Level, cond: Any = None) -> Prediction:
        return self.denoiser(x, level, torch.zeros(len(x), dtype=torch.long))
