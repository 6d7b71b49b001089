r"""Ensemble Kalman inversion whose members are noised and denoised: a prior that is a model."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from guided.guidance.sample.eki import EKI
from guided.guidance.sample.walk import require_stochastic, walked_back
from guided.operator import Operator
from guided.rng import Rng
from guided.sampler import Sampler


class DenoisedEKI(EKI):
    r"""Alternates Kalman updates with noising and denoising, at a noise level that falls.

    At level rho, with the ensemble's covariances C and a step h (see :class:`EKI`),

    .. math::
        z^j &= x^j + C_{xy} (C_{yy} + \Gamma / h)^{-1}
                (y + h^{-1/2} \Gamma^{1/2} \eta^j - G(x^j)) + \rho\, \varepsilon^j, \\
        x^j &\sim p(x_0 \mid x_0 + \rho\, n = z^j).

    The second line brings members that left the prior back to it. It also makes them forget a share
    :math:`f = \rho^2 / (c + \rho^2)` of what the data told, with c the prior's mean variance; that
    share, and no more, the data may tell again. So the steps add up to one use of the data,
    whatever the number of levels is.

    It finds the data in few evaluations, also in thousands of dimensions, where exact moves from
    the prior are not accepted. It samples no posterior: one share is forgotten in all directions
    alike, so that those that the data inform most come out up to twice too wide, and an ensemble
    that is small beside the number of such directions is too narrow. :class:`Waltz` repairs both.

    Costs one evaluation of the forward map and ``steps`` network calls a member and level.

    Args:
        sampler: a stochastic sampler, e.g. ``DPMpp2M(denoiser, eta=1)``.
        operator: the forward map and one measurement, with a Gaussian noise.
        levels: how many.
        high: first rho.
        low: last rho.
        steps: of the denoising walk.
        sigma_min: least noise-to-signal ratio of the walk.
        corrected: correct C for the size of the ensemble; takes memory of D m numbers.

    Raises:
        ValueError: for a deterministic sampler, several problems, or numbers out of range.

    Source: Diffusion Waltz, 2026 (its ensemble Kalman proposal, without the acceptance); Iglesias &
        Yang 2021 (the steps).
    Differs: from both in the falling rho and in how often the data are used.
    """

    def __init__(
        self,
        sampler: Sampler,
        operator: Operator,
        levels: int = 30,
        high: float = 1.0,
        low: float = 0.05,
        steps: int = 10,
        sigma_min: float = 0.01,
        corrected: bool = True,
    ) -> None:
        super().__init__(operator, corrected=corrected)
        require_stochastic(self, sampler)
        if min(levels, steps) < 1 or not 0 < sigma_min < low <= high:
            raise ValueError(
                f"DenoisedEKI needs levels, steps >= 1 and 0 < sigma_min < low <= high, got "
                f"{levels}, {steps}, {sigma_min}, {low} and {high}"
            )
        self.sampler, self.levels, self.steps = sampler, levels, steps
        self.high, self.low, self.sigma_min = high, low, sigma_min

    def iterate(self, x0: Tensor, cond: Any = None, *, rng: Rng) -> Iterator[Tensor]:
        """Yield the ensemble (J, ...) after every level, from draws x0 (J, ...) of the prior.

        Raises:
            ValueError: for an ensemble of 1.
            FloatingPointError: where every evaluation failed.
        """
        if len(x0) < 2:
            raise ValueError("DenoisedEKI learns from an ensemble and needs 2 members, got 1")
        shape, variance, told = x0.shape, float(x0.var(0).mean()), 0.0
        for level in range(self.levels):
            rho = self.high * (self.low / self.high) ** (level / max(self.levels - 1, 1))
            forgotten = rho**2 / (variance + rho**2)
            residual = self._residual(x0)
            # Told now, a share of it is forgotten in this very level.
            h = min(self._length(residual), 1 / (1 - forgotten) - told)
            z = self._moved(x0.flatten(1), residual, h, rng).reshape(shape)
            told = (told + h) * (1 - forgotten)
            z = torch.add(z, rng.normal(shape, z.dtype, z.device), alpha=rho)
            x0 = walked_back(self.sampler, z, rho, self.steps, self.sigma_min, cond, rng)
            yield x0

    def sample(self, x0: Tensor, cond: Any = None, *, rng: Rng) -> Tensor:
        """Return the last ensemble; arguments as in :meth:`iterate`."""
        *_, x0 = self.iterate(x0, cond, rng=rng)
        return x0
