r"""Diffusion Waltz whose noising step is drawn towards the measurement by the ensemble."""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from guided.cond import take
from guided.guidance.sample.waltz import Chain, Waltz
from guided.operator import Likelihood, Operator
from guided.rng import Rng
from guided.sampler import Sampler

BISECTIONS = 40
SHORTEST = 1e-12  # of the Kalman step h


@dataclass(frozen=True)
class KalmanChain(Chain):
    """Where the moves are, and what the forward map made of it.

    Args:
        out: outputs of the forward map (B, m).
    """

    out: Tensor

    def take(self, index: Tensor) -> "KalmanChain":
        """Resample the rows."""
        return replace(
            self,
            x0=self.x0[index],
            energy=self.energy[index],
            accepted=self.accepted[index],
            out=self.out[index],
        )


class KalmanWaltz(Waltz):
    r"""Noises a sample around where an ensemble Kalman step would take it.

    With the gain of step h that the other half of the ensemble teaches,
    :math:`K = C_{xy} (C_{yy} + \Gamma / (\beta h))^{-1}`,

    .. math::
        x_t &= \alpha_t \big(x_0 + K (y - G(x_0))\big) + \sigma_t \varepsilon, \qquad
        x_0' \sim p(x_0 \mid x_t),

    accepted with the odds

    .. math::
        e^{-\beta (E(x_0') - E(x_0))}\,
        \frac{q(x_t \mid x_0')\, p(x_t \mid x_0)}{q(x_t \mid x_0)\, p(x_t \mid x_0')},

    q being the law of x_t above and p that of plain noising. As a half moves by what the other one
    knows, and not by itself, the moves leave the posterior invariant as those of :class:`Waltz` do,
    whatever the forward map is. The drift brings samples of many dimensions near the data in few
    moves. h is at most 1, and such that the drift of the other half's members has a length (root
    mean square) that is drawn anew for every move, up to ``drift``: far from the data long drifts
    are accepted, near them short ones. The noise is moved to accept ``target`` of the proposals.

    A move costs ``steps`` network calls and one evaluation of the forward map per sample.

    Args:
        sampler: a stochastic sampler, e.g. ``DPMpp2M(denoiser, eta=1)``.
        operator: the forward map and one measurement; its noise gives misfits their units.
        steps: of the walk back.
        sigma_min: least noise-to-signal ratio of the walk, and of a move.
        ratio: the first centre of the noise-to-signal ratio.
        target: acceptance to aim at.
        drift: greatest length of the drift in standard deviations of the noise; 0 is
            :class:`Waltz`.

    Raises:
        ValueError: for a deterministic sampler, several problems, or numbers out of range.

    Source: Diffusion Waltz, 2026 (ensemble Kalman Crank-Nicolson); Goodman & Weare 2010, Ensemble
        samplers with affine invariance, section 2 (halves).
    Differs: the gain comes from the other half, so that a move is exact for any ensemble; h
        follows the noise, where the source adapts both to the acceptance.
    """

    def __init__(
        self,
        sampler: Sampler,
        operator: Operator,
        steps: int = 40,
        sigma_min: float = 0.01,
        ratio: float = 1.0,
        target: float = 0.3,
        drift: float = 3.0,
    ) -> None:
        super().__init__(sampler, Likelihood(operator), steps, sigma_min, ratio, target)
        if len(operator.y) != 1 or drift < 0:
            raise ValueError(
                f"KalmanWaltz needs one problem and a drift >= 0, got {len(operator.y)} and {drift}"
            )
        self.operator, self.drift = operator, drift

    def start(self, x0: Tensor, cond: Any = None) -> KalmanChain:
        """Return a chain at given samples (B, ...); costs one evaluation of the forward map.

        Raises:
            ValueError: for fewer than 4 samples.
        """
        if len(x0) < 4:
            raise ValueError(f"each half of an ensemble needs 2 samples, got {len(x0)} in all")
        nobody = torch.zeros(len(x0), dtype=torch.bool, device=x0.device)
        out = self.operator(x0)
        energy = -self.operator.log_likelihood(out)
        return KalmanChain(x0, energy, nobody, self.ratio, out)

    def move(self, chain: Chain, cond: Any, rng: Rng, beta: float = 1.0) -> KalmanChain:
        """Return the chain after one move of either half."""
        assert isinstance(chain, KalmanChain)
        ratio = self.drawn(chain, rng)
        length = self.drift * ratio * float(rng.uniform((len(rng.seeds),), torch.float64)[0])
        half = torch.arange(len(chain.x0), device=chain.x0.device) < len(chain.x0) // 2
        moved = chain
        for mine in (half, ~half):
            moved = self._half_moved(moved, mine, ratio, length, cond, rng, beta)
        return replace(moved, ratio=self.adapted(chain, moved.accepted))

    def _half_moved(
        self,
        chain: KalmanChain,
        mine: Tensor,
        ratio: float,
        length: float,
        cond: Any,
        rng: Rng,
        beta: float,
    ) -> KalmanChain:
        """Move the rows that ``mine`` marks by what the others know."""
        x0, out = chain.x0[mine], chain.out[mine]
        gain = _Gain(chain.x0[~mine], chain.out[~mine], self.operator, beta, length)
        here = gain(out).unflatten(1, x0.shape[1:])
        noise = ratio * rng.normal(x0.shape, x0.dtype, x0.device)
        z = x0 + here + noise
        proposed = self.denoised(z, ratio, take(cond, mine), rng)
        proposed_out = self.operator(proposed)
        energy = -self.operator.log_likelihood(proposed_out)
        log_odds = beta * (chain.energy[mine] - energy).double()
        log_odds = log_odds + _drift_odds(z - x0, here, ratio)
        log_odds = log_odds - _drift_odds(
            z - proposed, gain(proposed_out).unflatten(1, x0.shape[1:]), ratio
        )
        settled = self.settled(chain.take(mine.nonzero()[:, 0]), proposed, energy, log_odds, rng)
        out = torch.where(settled.accepted[:, None], proposed_out, out)
        return replace(
            chain,
            x0=_placed(chain.x0, mine, settled.x0),
            energy=_placed(chain.energy, mine, settled.energy),
            accepted=_placed(chain.accepted, mine, settled.accepted),
            out=_placed(chain.out, mine, out),
        )


class _Gain:
    """The Kalman gain of an ensemble x (J, ...) with outputs (J, m); failed members teach nothing.

    With the centred members X (J, D) and outputs Y = U S V^T over the root of J, in units of the
    noise, K r = X^T U h S (1 + h S^2)^{-1} V^T r for a residual r.

    Args:
        x: members.
        out: their outputs.
        operator: the forward map and the measurement.
        most: largest h.
        length: root mean square of the members' own drift |K r|, which h is chosen for.
    """

    def __init__(
        self, x: Tensor, out: Tensor, operator: Operator, most: float, length: float
    ) -> None:
        valid = ~out.isnan().any(1)
        x, out = x[valid].flatten(1), out[valid]
        self.noise, self.y = operator.noise.to(out), operator.y.to(out)
        root = math.sqrt(max(len(x), 1))
        U, self.S, self.Vh = torch.linalg.svd(
            (out - out.mean(0)) / self.noise / root, full_matrices=False
        )
        self.directions = U.mT.to(x) @ ((x - x.mean(0)) / root)  # (k, D)
        square = (self.directions @ self.directions.mT).to(self.S)
        shares = self._shares(out)
        self.moments = square * (shares.mT @ shares) / max(len(x), 1)
        self.h = self._longest(most, length)

    def __call__(self, out: Tensor) -> Tensor:
        """Return K (y - out) for outputs (B, m), flat (B, D); 0 for a row that failed."""
        return (self._shares(out) * self._factors(self.h)).to(self.directions) @ self.directions

    def _shares(self, out: Tensor) -> Tensor:
        return ((self.y - out) / self.noise).nan_to_num(nan=0.0) @ self.Vh.mT

    def _factors(self, h: float) -> Tensor:
        return h * self.S / (1 + h * self.S.square())

    def _longest(self, most: float, length: float) -> float:
        """Return the largest h up to ``most`` that keeps the drift within ``length``."""

        def within(h: float) -> bool:
            factors = self._factors(h)
            return float(factors @ self.moments @ factors) <= length**2

        if within(most):
            return most
        low, high = SHORTEST * most, most
        for _ in range(BISECTIONS):
            middle = math.sqrt(low * high)
            low, high = (middle, high) if within(middle) else (low, middle)
        return low


def _drift_odds(offset: Tensor, drift: Tensor, ratio: float) -> Tensor:
    """Return log p - log q of x_t at an offset from x0: plain noising against drifted, (B,)."""
    offset, drift = offset.flatten(1).double(), drift.flatten(1).double()
    # Of the squares |offset - drift|^2 - |offset|^2, which differ by little.
    return (drift * (drift - 2 * offset)).sum(1) / (2 * ratio**2)


def _placed(whole: Tensor, rows: Tensor, part: Tensor) -> Tensor:
    whole = whole.clone()
    whole[rows] = part
    return whole
