r"""Guidance on the estimated clean manifold: bounded gradient steps on the clean estimate."""

import math
from typing import Any

import torch
from torch import Tensor

from guided.cond import repeat
from guided.denoiser import Denoiser
from guided.energy import Energy
from guided.guidance.clip import clipped, require_clip
from guided.guidance.denoise.mpgd import MPGD
from guided.operator import Operator


class ECM(MPGD):
    r"""Moves every entry of the clean estimate down the energy by at most a bound.

    .. math:: \hat x_0 = x_0 - \mathrm{clip}(w \nabla E(x_0), -\tau, \tau), \qquad
              \hat\varepsilon = \varepsilon.

    It is :class:`MPGD` with a clip, and shares its bias: an optimiser, no sampler of a posterior.
    The clip lets a steep energy have a large scale. An entry depends on its own gradient alone, and
    a sample on no other sample.

    A sampler may run in coordinates u with y = mean + spread * u (see
    :class:`guided.GaussianPrior`). Scale and clip keep their meaning in the y of the energy with

    .. math:: \hat u_0 = u_0 - \frac{1}{\mathrm{spread}}\,
              \mathrm{clip}\Big(\frac{w}{\mathrm{spread}} \frac{dE}{du_0}, -\tau, \tau\Big).

    With a metric M, a positive semidefinite matrix on the last axis, in u, steps follow it:

    .. math:: \hat u_0 = u_0 - \frac{1}{\mathrm{spread}}\,
              \mathrm{clip}\big(w\, \mathrm{spread} \cdot M \nabla E(u_0), -\tau, \tau\big).

    The covariance of what is likely makes plausible steps, e.g. those of a car that brakes rather
    than of one that was slower all along.

    Where a whole step overshoots, ``halvings`` tries a half, a quarter, ... of it, and each sample
    (each part, for an energy that tells its ``parts``, see :class:`ECMR`) takes the best, of equals
    the shortest.

    The prediction of the last step is the sample, so its move leaves the model's manifold by up to
    the clip. To leave that one alone, limit the method to levels above the last that a run predicts
    at, which is that of ``times[-2]``::

        last = schedule.levels(times)[-2].noise_to_signal
        Between(ECM(denoiser, energy), low=last)

    Costs one gradient of the energy a call; none passes through the denoiser.

    Args:
        denoiser: the model.
        energy: differentiable, of clean samples in the sampler's coordinates (in u a
            :class:`guided.Decoded`); or an operator, whose energy is its likelihood.
        scale: w, in units of y squared per unit of energy; 0 is neutral and takes no gradient.
        clip: tau, the longest move of an entry, in units of y; inf is no bound.
        spread: the length in y of a unit of the sampler's coordinates, positive: a number, or a
            tensor (R, ...) for R requests that each serve B / R rows side by side, e.g. the std of
            a prior. 1 where the sampler's are those of y.
        metric: M, shape (k, k) or (R, ..., k, k) for R requests, for x (B, ..., k); None is
            neutral, the identity in y.
        halvings: shorter steps to try; 0 is neutral. Costs one more call of the energy, of
            ``halvings`` + 1 rows a sample.

    Raises:
        TypeError: for an energy that is a black box.
        ValueError: for a clip or a spread that is not positive, or negative halvings; in a run,
            for a metric that does not fit.

    Source: Wang et al. 2024, Optimizing diffusion models for joint trajectory prediction and
        controllable generation (arXiv 2408.00766), and its code.
    Differs: the energies of a batch are summed, where the code averages over samples and agents,
        which makes a step shorter the more are sampled together. The last step is guided by
        default, as there. It has neither metric nor halvings.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        energy: Energy | Operator,
        scale: float = 1.0,
        clip: float = 1.0,
        spread: float | Tensor = 1.0,
        metric: Tensor | None = None,
        halvings: int = 0,
    ) -> None:
        super().__init__(denoiser, energy, scale)
        require_clip(clip, type(self).__name__)
        least = float(spread.min()) if isinstance(spread, Tensor) else spread
        if not 0 < least < math.inf:
            raise ValueError(
                f"{type(self).__name__} needs a spread of positive lengths, got a least one of "
                f"{least}; give 1 where the sampler runs in the coordinates of the energy"
            )
        if halvings < 0:
            raise ValueError(f"{type(self).__name__} needs 0 or more halvings, got {halvings}")
        self.clip, self.spread, self.metric, self.halvings = clip, spread, metric, halvings

    def improved(self, x0: Tensor, cond: Any = None) -> Tensor:
        """Return clean samples (B, ...) after one step down the energy, the best length of it."""
        if self.scale == 0 or self.halvings == 0:
            return super().improved(x0, cond)
        move = self.move(self.energy.slope(x0, cond))
        # The shortest first: of equals it wins, so that nobody goes farther than the energy asks.
        lengths = 0.5 ** torch.arange(self.halvings, -1, -1, dtype=x0.dtype, device=x0.device)
        count, ones = len(lengths), [1] * (x0.ndim - 1)
        trials = (x0[:, None] - lengths.reshape(1, -1, *ones) * move[:, None]).flatten(0, 1)
        values = self._parts(trials, repeat(cond, count)).unflatten(0, (-1, count))
        best = lengths[values.nan_to_num(nan=math.inf, posinf=math.inf).argmin(1)]  # (B, A or 1)
        return x0 - best.reshape(*best.shape, *ones[1:]) * move

    def _parts(self, x0: Tensor, cond: Any) -> Tensor:
        """Return the parts of the energies (B, A), or the energies (B, 1) where there are none."""
        found = self.energy.parts(x0, cond) if hasattr(self.energy, "parts") else None
        return self.energy(x0, cond)[:, None] if found is None else found

    def move(self, slope: Tensor) -> Tensor:
        """Return what to take off the clean estimate for a gradient (B, ...), both in u."""
        if self.metric is not None:
            return self._along(self.metric.to(slope), slope)
        spread = rows_of(self.spread, slope) if isinstance(self.spread, Tensor) else self.spread
        return clipped(self.scale / spread * slope, self.clip) / spread

    def _along(self, metric: Tensor, slope: Tensor) -> Tensor:
        """Return the move for a metric, (k, k) or of R requests.

        The rows of a request lie side by side, so that it takes one product of matrices for each
        and nothing is repeated.
        """
        requests = 1 if metric.ndim == 2 else len(metric)
        if len(slope) % requests:
            raise ValueError(f"{requests} requests cannot share {len(slope)} rows evenly")
        rows = slope.unflatten(0, (requests, -1)).movedim(1, -2)  # (R, ..., B / R, k)
        spread: float | Tensor = self.spread
        if isinstance(spread, Tensor):
            spread = spread.to(slope)
            if spread.ndim == slope.ndim and len(spread) in (1, requests):
                spread = spread[..., None, :]
            else:  # it broadcasts against x in another way
                spread = spread.expand(slope.shape).unflatten(0, (requests, -1)).movedim(1, -2)
        moves = clipped(self.scale * spread * (rows @ metric.mT), self.clip) / spread
        return moves.movedim(-2, 1).flatten(0, 1)


def rows_of(requests: Tensor, x: Tensor) -> Tensor:
    """Return values of R requests (R, ...) for the rows of x (B, ...) that they serve, (B, ...).

    Values that broadcast against x stay as they are.

    Raises:
        ValueError: for a batch that is no multiple of R.
    """
    values = requests.to(x)
    if values.ndim < x.ndim or len(values) in (1, len(x)):
        return values
    if len(x) % len(values):
        raise ValueError(f"{len(values)} requests cannot share {len(x)} rows evenly")
    return values.repeat_interleave(len(x) // len(values), 0)
