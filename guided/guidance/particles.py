"""Weights of particles: resampling, effective sizes, temperatures and evidence.

Particles of one request lie side by side, K of them: log weights are (B, K).
"""

import math

import torch
from torch import Tensor

from guided.rng import Rng

BISECTIONS = 60
POWER_STEPS = 10


def effective_size(log_weights: Tensor) -> Tensor:
    r"""Return :math:`(\sum w)^2 / \sum w^2` of log weights (B, K), shape (B,), between 1 and K.

    Source: Kong, Liu & Wong 1994, Sequential imputations and Bayesian missing data problems.
    """
    return (2 * log_weights.logsumexp(-1) - (2 * log_weights).logsumexp(-1)).exp()


def systematic(log_weights: Tensor, rng: Rng, survivors: int | None = None) -> Tensor:
    """Return the rows (B S,) that survive: particle k of a request about S w_k times.

    One uniform number a request places S equally spaced marks on the cumulated weights.

    Args:
        log_weights: (B, K), not normalised; where all weight is lost, all particles weigh alike.
        rng: draws the marks.
        survivors: S; None is K.

    Source: Kitagawa 1996, Monte Carlo filter and smoother, section 5; Douc et al. 2005.
    """
    count = log_weights.shape[-1]
    log_weights = log_weights.double()
    lost = log_weights.amax(-1, keepdim=True) == -math.inf
    weights = torch.where(lost, 0.0, log_weights).softmax(-1)
    u = rng.uniform((len(weights), 1), torch.float64, weights.device)
    survivors = survivors or count
    marks = (torch.arange(survivors, device=weights.device) + u) / survivors
    total = weights.cumsum(-1)
    chosen = torch.searchsorted(total / total[:, -1:], marks).clamp(max=count - 1)
    first = torch.arange(len(weights), device=weights.device)[:, None] * count
    return (first + chosen).flatten()


def along_main_axis(x: Tensor) -> Tensor:
    """Return the order (K,) of rows x (K, ...) along the axis on which they vary most.

    Systematic marks that are placed in this order replace rows by their neighbours: the shares of
    modes far apart keep their weights, where marks in an order by chance would add noise to them.

    Source: Gerber, Chopin & Whiteley 2019, Negative association, ordering and convergence of
        resampling methods, section 4 (sorted resampling).
    Differs: sorted along one axis, not a Hilbert curve.
    """
    offsets = x.flatten(1) - x.flatten(1).mean(0)
    axis = offsets[offsets.square().sum(1).argmax()]
    for _ in range(POWER_STEPS):
        axis = offsets.mT @ (offsets @ axis)
        axis = axis / axis.norm().clamp(min=torch.finfo(axis.dtype).tiny)
    return (offsets @ axis).argsort(stable=True)


def next_temperature(
    energy: Tensor, beta: float, share: float, base: Tensor | float = 0.0
) -> float:
    """Return the largest inverse temperature up to 1 that keeps effective sizes above a share of K.

    Args:
        energy: (B, K); a particle of energy +inf or NaN has no weight at any temperature above 0.
        beta: the present one.
        share: in (0, 1); the least request decides.
        base: log weights (B, K) at inverse temperature 0, those at b being base - b energy. A
            number means equal weights at ``beta`` itself.

    Source: Jasra et al. 2011, Inference for Levy-driven stochastic volatility models via adaptive
        sequential Monte Carlo, section 3.3.
    """
    energy = energy.double().nan_to_num(nan=math.inf, posinf=math.inf)
    if not isinstance(base, Tensor):
        base = torch.where(energy < math.inf, beta * energy, 0.0)
    # Those that are lost at any temperature must not stop the search for one.
    least = share * (energy < math.inf).sum(-1).clamp(min=1)

    def kept(b: float) -> bool:
        return bool((effective_size(base - b * energy) >= least).all())

    low, high = beta, 1.0
    if kept(high):
        return high
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if kept(middle) else (low, middle)
    return low


def bennett(cold: Tensor, hot: Tensor, step: float) -> float:
    r"""Return :math:`\log Z_{\beta + step} - \log Z_\beta` from energies at both temperatures.

    The estimator of least variance for independent draws, which needs neither set to cover the
    other as a plain average of exp(-step E) does.

    Args:
        cold: energies drawn at beta + step, (N,).
        hot: energies drawn at beta, (M,).
        step: the difference of inverse temperatures, above 0.

    Source: Bennett 1976, Efficient estimation of free energy differences, eq. 12.
    """
    cold, hot = (e.double().nan_to_num(nan=math.inf, posinf=math.inf) for e in (cold, hot))
    shift = math.log(len(hot) / len(cold))

    def excess(log_ratio: float) -> float:
        up = torch.sigmoid(-(shift + step * hot + log_ratio)).sum()
        down = torch.sigmoid(shift + step * cold + log_ratio).sum()
        return float(up - down)

    # The excess falls with the ratio; the two plain averages bound it loosely.
    finite = torch.cat([cold, hot])
    finite = finite[finite < math.inf]
    low = -step * float(finite.max()) - abs(shift) - 40
    high = -step * float(finite.min()) + abs(shift) + 40
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return (low + high) / 2
