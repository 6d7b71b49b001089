"""Correlations of a small ensemble, less what chance adds to them."""

import torch
from torch import Tensor


class Covariances:
    r"""Covariances between members (J, D) and their outputs (J, m), with sampling errors removed.

    The square of a sample correlation r exceeds that of the true one by about
    :math:`(1 - r^2)^2 / (J - 1)`; every correlation is shortened by the factor
    :math:`\max(0, 1 - (1 - r^2)^2 / ((J - 1) r^2))`. What a few members correlate by chance goes,
    and the rank of the covariances is no longer bounded by J. Costs memory of D m numbers.

    Args:
        x: members.
        out: their outputs.

    Source: Lee 2021, Sampling error correction in ensemble Kalman inversion (the idea); Anderson
        2012, Localization and sampling error correction in ensemble Kalman filter data
        assimilation.
    Differs: a closed formula stands for their tables, which come from simulations.
    """

    def __init__(self, x: Tensor, out: Tensor) -> None:
        inputs, deviations = _standardised(x)
        outputs, units = _standardised(out.to(x))
        count = len(x) - 1
        self.cross = deviations[:, None] * _shortened(inputs.mT @ outputs / count, count) * units
        outer = units[:, None] * _shortened(outputs.mT @ outputs / count, count) * units
        # Shortened one by one, correlations need not be those of any law.
        self.values, self.vectors = torch.linalg.eigh(outer.double())
        self.values = self.values.clamp(min=0)

    def gain(self, innovation: Tensor, h: float) -> Tensor:
        """Return C_xy (C_yy + 1 / h)^-1 applied to innovations (J, m), in units of the noise."""
        shares = innovation.to(self.vectors) @ self.vectors / (self.values + 1 / h)
        return (shares @ self.vectors.mT).to(self.cross) @ self.cross.mT


def _standardised(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return x (J, D) with mean 0 and variance 1, and its deviations (D,)."""
    deviations = x.std(0)
    return (x - x.mean(0)) / deviations.where(deviations > 0, 1.0), deviations


def _shortened(r: Tensor, count: int) -> Tensor:
    square = r.square()
    chance = (1 - square).square() / count
    return r * (1 - chance / square.clamp(min=1e-12)).clamp(min=0)
