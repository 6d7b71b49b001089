r"""Ensemble Kalman inversion: a reference without a diffusion prior."""

import torch
from torch import Tensor

from guided.guidance.sample.correlation import Covariances
from guided.operator import Operator
from guided.rng import Rng


class EKI:
    r"""Moves an ensemble from the prior to the posterior by tempered Kalman updates.

    With C the ensemble's covariances, :math:`\Gamma` the noise's and steps h that sum up to 1,

    .. math:: x^j \leftarrow x^j + C_{xy} (C_{yy} + \Gamma / h)^{-1}
              (y + h^{-1/2} \Gamma^{1/2} \eta^j - G(x^j)).

    Exact for a linear map and a Gaussian prior as the ensemble grows. Elsewhere it is a Gaussian
    approximation. The members stay in the span of the ensemble, and a few members that learn much
    come out too narrow; ``corrected`` takes chance correlations out of C (see
    :class:`guided.guidance.sample.correlation.Covariances`).

    Costs one evaluation of the forward map a member and step.

    Args:
        operator: the forward map and one measurement, with a Gaussian noise.
        most: largest number of steps; the last one takes what is left.
        corrected: correct C for the size of the ensemble.

    Raises:
        ValueError: for an operator of several problems, or fewer than 1 step.

    Source: Iglesias, Law & Stuart 2013, Ensemble Kalman methods for inverse problems; Iglesias &
        Yang 2021, Adaptive regularisation for ensemble Kalman inversion, eq. 14 (the steps).
    """

    def __init__(self, operator: Operator, most: int = 50, corrected: bool = False) -> None:
        if len(operator.y) != 1 or most < 1:
            raise ValueError(
                f"EKI needs one problem and most >= 1, got {len(operator.y)} and {most}"
            )
        self.operator, self.most, self.corrected = operator, most, corrected

    def sample(self, x0: Tensor, *, rng: Rng) -> Tensor:
        """Return the ensemble (J, ...) that members x0 (J, ...) of the prior become.

        Raises:
            ValueError: for an ensemble of 1.
            FloatingPointError: if the forward map fails for every member.
        """
        if len(x0) < 2:
            raise ValueError("EKI learns from the spread of an ensemble and needs 2 members, got 1")
        x, left = x0.flatten(1), 1.0
        for step in range(self.most):
            residual = self._residual(x.reshape(x0.shape))
            h = left if step == self.most - 1 else min(left, self._length(residual))
            x, left = self._moved(x, residual, h, rng), left - h
            if left <= 0:
                break
        return x.reshape(x0.shape)

    def _residual(self, x0: Tensor) -> Tensor:
        """Return G(x) - y in units of the noise, (J, m); a failed member has the mean."""
        out = self.operator(x0).double()  # products of four misfits, which may be far off
        residual = (out - self.operator.y.to(out)) / self.operator.noise.to(out)
        failed = residual.isnan().any(1, keepdim=True)
        if bool(failed.all()):
            raise FloatingPointError("the forward map failed for every member; give more members")
        return residual.where(~failed, residual.nanmean(0, keepdim=True))

    def _length(self, residual: Tensor) -> float:
        """Return the step that the misfits allow: neither their mean nor their spread is large."""
        misfit = 0.5 * residual.square().sum(1)
        size = residual.shape[1]
        by_mean = size / (2 * float(misfit.mean()))
        by_spread = (size / (2 * float(misfit.var().clamp(min=1e-300)))) ** 0.5
        return max(by_mean, by_spread)

    def _moved(self, x: Tensor, residual: Tensor, h: float, rng: Rng) -> Tensor:
        count = len(x)
        offsets, centred = x - x.mean(0), residual - residual.mean(0)
        eta = rng.normal(residual.shape, x.dtype, x.device)
        innovation = h**-0.5 * eta - residual
        if self.corrected:
            return x + Covariances(x, residual).gain(innovation, h)
        square = centred.mT @ centred / count
        square = square + torch.eye(len(square)).to(square) / h
        weights = torch.linalg.solve(square, innovation.mT).mT @ centred.mT / count  # (J, J)
        return x + weights.to(x) @ offsets
