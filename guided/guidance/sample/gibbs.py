r"""Split Gibbs sampling with an ensemble: Langevin on the likelihood, denoising for the prior."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from guided.guidance.particles import systematic
from guided.guidance.sample.walk import require_stochastic, walked_back
from guided.guidance.slope import Coupled, fitted
from guided.operator import Operator
from guided.rng import Rng
from guided.sampler import Sampler

GAIN = 0.5  # of the search for the length of a step, in its log a unit of acceptance
ACCEPTANCE = 0.5  # to aim at


class SplitGibbs:
    r"""Alternates between the likelihood and the prior, coupled by a noise level that falls.

    At coupling :math:`\rho`, with members x of the prior and z of the likelihood,

    .. math::
        z &\sim e^{-\ell(z)} N(z; x, \rho^2 I), \qquad
           \ell(z) = \tfrac12 |G(z) - y|^2_{\Gamma}, \\
        x &\sim p(x_0 \mid x_0 + \rho n = z).

    The second draw denoises z from the level where noise-to-signal is rho. The first one is a walk
    of Langevin steps in which the ensemble stands in for the slope H of G
    (:mod:`guided.guidance.slope`), over the exact flow of the linearised law and with its
    covariance P as preconditioner:

    .. math::
        z' = z - (1 - \cos\theta) P \big((z - x) / \rho^2 + H^T \Gamma^{-1} (G(z) - y)\big)
             + \sin\theta\, P^{1/2} n,

    accepted by Metropolis and Hastings, so that a map that is not linear costs acceptance, not the
    law. For a linear map :math:`\theta = \pi / 2` is an exact draw, always accepted; else theta is
    adapted. Before a new level, members are resampled by what its coupling changes in the law of x,
    :math:`N(y; G(x), \Gamma + \rho^2 H H^T)` with H of the level before. Without that, the modes of
    the prior keep the shares that they had when the noise last let x jump between them.

    For a linear map and any prior this converges to the posterior as the ensemble and ``steps``
    grow, provided that ``low`` is at most 0.7 of the noise over the slope. For other maps the
    shares of the modes are as good as the linearisation, and the last levels mend what moves of
    size ``low`` can mend. Where one slope for all members says little (steps, a product) and the
    noise is small, the samples are too narrow; repair them with :class:`guided.guidance.Waltz`.

    With hundreds of outputs and few members no step would be accepted and one member would survive
    the resampling. ``corrected=False`` does neither: z is drawn from the linearised law, with the
    slope fitted anew at every step, and nothing is weighed. It finds the data with few simulations,
    and is exact for one Gaussian and a linear map only; the ensemble is too narrow where it is too
    small for the slope.

    Costs ``langevin`` + 2 evaluations of the forward map and ``steps`` network calls a member and
    level (one evaluation less at the first; ``langevin`` uncorrected). Members move together.

    Args:
        sampler: a stochastic sampler, e.g. ``DPMpp2M(denoiser, eta=1)``.
        operator: the forward map and one measurement, with a Gaussian noise.
        levels: of the coupling, in a geometric row.
        langevin: steps at each.
        steps: of the denoising walk.
        high: first coupling, beyond the distance of the prior's modes.
        low: last coupling.
        sigma_min: least noise-to-signal ratio of the walk.
        corrected: accept by Metropolis and Hastings, and resample.

    Raises:
        ValueError: for a deterministic sampler, several problems, or numbers out of range.

    Source: Blade, 2025 (arXiv 2510.10968): split Gibbs with statistical linearisation; Vono,
        Dobigeon & Chainais 2019, Split-and-augmented Gibbs sampler, algorithm 1.
    Differs: Blade's steps share one covariance, that of all z, and one law, but every z has a law
        of its own, around its x: theirs leaves another law invariant, ours the right one, by the
        preconditioner and the acceptance. z continues from the level before, with its distance to
        x scaled, not from x. The blur of the coupling is taken from the noise of y (Gamma). Members
        are resampled between levels.
    """

    def __init__(
        self,
        sampler: Sampler,
        operator: Operator,
        levels: int = 30,
        langevin: int = 3,
        steps: int = 25,
        high: float = 10.0,
        low: float = 0.02,
        sigma_min: float = 0.005,
        corrected: bool = True,
    ) -> None:
        require_stochastic(self, sampler)
        if len(operator.y) != 1:
            raise ValueError(
                f"SplitGibbs takes one problem, got {len(operator.y)}; run it once a row of y"
            )
        if min(levels, langevin, steps) < 1 or not 0 < sigma_min < low <= high:
            raise ValueError(
                f"SplitGibbs needs levels, langevin, steps >= 1 and 0 < sigma_min < low <= high, "
                f"got {levels}, {langevin}, {steps}, {sigma_min}, {low} and {high}"
            )
        self.sampler, self.operator = sampler, operator
        self.levels, self.langevin, self.steps = levels, langevin, steps
        self.high, self.low, self.sigma_min = high, low, sigma_min
        self.corrected = corrected

    def iterate(self, x0: Tensor, cond: Any = None, *, rng: Rng) -> Iterator[Tensor]:
        """Yield the ensemble (J, ...) after every level, starting from draws x0 of the prior.

        Args:
            x0: members, left untouched.
            cond: the same for all members, any tree of tensors with leading axis J.
            rng: the source of all randomness.

        Raises:
            ValueError: for an ensemble of 1.
        """
        if len(x0) < 2:
            raise ValueError("SplitGibbs learns from an ensemble and needs 2 members, got 1")
        yield from (self._chained if self.corrected else self._free)(x0, cond, rng)

    def _free(self, x0: Tensor, cond: Any, rng: Rng) -> Iterator[Tensor]:
        """Yield the ensemble after every level, z drawn from the linearised law."""
        shape = x0.shape
        for level in range(self.levels):
            x, rho = x0.flatten(1), self._rho(level)
            z, residual = x, self._residual(x0)
            for step in range(self.langevin):
                residual = self._residual(z.reshape(shape)) if step else residual
                here = Coupled(fitted(z, residual), rho)
                kick = here.kick(rng.normal(z.shape, z.dtype, z.device))
                z = z + here.drift(z - x, residual) + kick
            x0 = self._denoised(z.reshape(shape), rho, cond, rng)
            yield x0

    def _chained(self, x0: Tensor, cond: Any, rng: Rng) -> Iterator[Tensor]:
        """Yield the ensemble after every level, z walked and accepted, members resampled."""
        shape, x = x0.shape, x0.flatten(1)
        z, residual = x, self._residual(x0)
        here, theta = Coupled(fitted(z, residual), self.high), math.pi / 2
        weight = -here.misfit_of_x(residual)
        for level in range(self.levels):
            rho = self._rho(level)
            survivors = systematic(weight[None], rng)
            x, z, residual = x[survivors], z[survivors], residual[survivors]
            if level > 0:
                z = x + rho / here.rho * (z - x)
                residual = self._residual(z.reshape(shape))
                here = Coupled(fitted(z, residual), rho)
            for _ in range(self.langevin):
                z, residual, share = self._moved(z, residual, x.reshape(shape), here, theta, rng)
                theta = min(math.pi / 2, theta * math.exp(GAIN * (share - ACCEPTANCE)))
            x0 = self._denoised(z.reshape(shape), rho, cond, rng)
            yield x0
            if level < self.levels - 1:
                x = x0.flatten(1)
                weight = self._change(here, self._rho(level + 1), self._residual(x0))

    def sample(self, x0: Tensor, cond: Any = None, *, rng: Rng) -> Tensor:
        """Return the last ensemble; arguments as in :meth:`iterate`."""
        *_, x0 = self.iterate(x0, cond, rng=rng)
        return x0

    def _residual(self, x0: Tensor) -> Tensor:
        """Return G - y in units of the noise, (J, m)."""
        noise = self.operator.noise.to(x0)
        return (self.operator(x0).to(x0) - self.operator.y.to(x0)) / noise

    def _denoised(self, z: Tensor, rho: float, cond: Any, rng: Rng) -> Tensor:
        return walked_back(self.sampler, z, rho, self.steps, self.sigma_min, cond, rng)

    def _rho(self, level: int) -> float:
        return self.high * (self.low / self.high) ** (level / max(self.levels - 1, 1))

    def _change(self, here: Coupled, rho: float, residual: Tensor) -> Tensor:
        """Return log weights (J,) of x from one coupling to the next, at the slope of the first."""
        there = Coupled(here.slope, rho)
        change = here.misfit_of_x(residual) - there.misfit_of_x(residual)
        return change.nan_to_num(nan=-math.inf)

    def _moved(
        self, z: Tensor, residual: Tensor, x0: Tensor, here: Coupled, theta: float, rng: Rng
    ) -> tuple[Tensor, Tensor, float]:
        """Return z and its residuals after one Langevin step, and the share of accepted moves."""
        x, part, std = x0.flatten(1), 1 - math.cos(theta), math.sin(theta)
        onward = part * here.drift(z - x, residual)
        kick = std * here.kick(rng.normal(z.shape, z.dtype, z.device))
        there = z + onward + kick
        found = self._residual(there.reshape(x0.shape))
        back = part * here.drift(there - x, found)
        log_ratio = (here.length(kick) - here.length(z - there - back)) / std**2
        log_ratio = log_ratio + (z - x).square().sum(1) / (2 * here.rho**2)
        log_ratio = log_ratio - (there - x).square().sum(1) / (2 * here.rho**2)
        log_ratio = log_ratio + here.misfit(residual) - here.misfit(found)
        # A move to where the map fails compares as False; any other one leaves such a place.
        u = rng.uniform((len(z),), torch.float64, z.device)
        accepted = u.log() < log_ratio
        keep = accepted[:, None]
        z, residual = torch.where(keep, there, z), torch.where(keep, found, residual)
        return z, residual, float(accepted.double().mean())
