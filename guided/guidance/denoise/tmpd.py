r"""Moment matching for linear measurements: PiGDM and TMPD."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from guided.denoiser import Denoiser, DenoiserWrapper, Prediction
from guided.energy import require_differentiable
from guided.operator import Operator
from guided.schedule import Level


class TMPD(DenoiserWrapper):
    r"""Kalman-updates the clean estimate by a linear measurement, at every level.

    With :math:`p(x_0 | x_t) \approx N(x_0(x_t), V)`, H the forward map and R its noise,

    .. math:: \hat x_0 = x_0 + V_J H^T (H V H^T + R)^{-1} (y - H x_0), \qquad
              V_J = \tfrac{\sigma^2}{\alpha} \nabla x_0(x_t),

    and eps consistent with it. V is the true covariance :math:`V_J` (``jacobian``), which makes the
    method exact for Gaussian priors, or :math:`r^2 I` (``isotropic``, PiGDM).

    Costs, for m outputs, m vector-Jacobian products of the network a call (``jacobian``) or one
    (``isotropic``).

    Args:
        denoiser: the model.
        operator: a linear (or affine) differentiable map and what was measured.
        variance: one of the above.
        spread: maps a level to r of ``isotropic``; None is
            :math:`\sigma / \sqrt{\alpha^2 + \sigma^2}`, for data of variance 1.

    Raises:
        TypeError: for an operator that is a black box.
        ValueError: for an unknown variance.

    Source: Boys et al. 2024, Tweedie moment projected diffusions, eq. 8; Song et al. 2023,
        Pseudoinverse-guided diffusion models, eq. 7 (isotropic).
    """

    def __init__(
        self,
        denoiser: Denoiser,
        operator: Operator,
        variance: Literal["jacobian", "isotropic"] = "jacobian",
        spread: Callable[[Level], float] | None = None,
    ) -> None:
        super().__init__(denoiser)
        require_differentiable(operator, "TMPD")
        if variance not in ("jacobian", "isotropic"):
            raise ValueError(f"unknown variance {variance!r}; expected 'jacobian' or 'isotropic'")
        self.operator, self.variance = operator, variance
        self.spread = spread or _of_unit_data

    def forward(self, x: Tensor, level: Level, cond: Any = None) -> Prediction:
        """Return the prediction given the measurement."""
        _, alpha, sigma = level
        gain = sigma**2 / alpha
        with torch.enable_grad():
            y = x.detach().requires_grad_()
            x0, eps = self.denoiser(y, level, cond)
            out = self.operator(x0)
            noise = self.operator.noise.to(out)
            square = self._square(out, y, level).detach() + torch.diag_embed(noise.square())
            misfit = self.operator.measured(len(x)).to(out) - out.detach()
            pull = torch.linalg.solve(square, misfit[..., None])[..., 0]
            (slope,) = torch.autograd.grad((out * pull).sum(), y)
        x0, eps = x0.detach(), eps.detach()
        return Prediction(x0 + gain * slope, eps - sigma * slope)

    def _square(self, out: Tensor, x: Tensor, level: Level) -> Tensor:
        """Return H V H^T of every sample, (B, m, m) or (m, m)."""
        size = out.shape[1]
        zero = torch.zeros_like(x[:1]).requires_grad_()
        origin = self.operator(zero)
        if self.variance == "isotropic":
            rows = [
                torch.autograd.grad(origin[0, i], zero, retain_graph=True)[0] for i in range(size)
            ]
            H = torch.cat(rows).flatten(1)
            return self.spread(level) ** 2 * H @ H.mT
        columns = []
        for i in range(size):
            (row,) = torch.autograd.grad(out[:, i].sum(), x, retain_graph=True)
            columns.append(self.operator(row) - origin)
        square = level.sigma**2 / level.alpha * torch.stack(columns, 1)
        return (square + square.mT) / 2


def _of_unit_data(level: Level) -> float:
    return float(level.sigma / (level.alpha**2 + level.sigma**2) ** 0.5)
