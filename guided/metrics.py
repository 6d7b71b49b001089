r"""Distances between samples of two laws, and the calibration of ensembles.

Conventions
-----------
Samples are (N, ...) and (M, ...), flattened to vectors; N and M may differ; the result is a float.
All pairwise work is chunked and done in double precision.

A distance is never read alone: **print the exact-draw floor at the same n**, that is the same
metric between two independent exact samples of sizes N and M. A right method reaches its floor.

Metrics
-------
======================  =============================  ====================
sliced_wasserstein      mean over directions           0 ideal, biased up
energy_distance         unbiased, may be negative      0 ideal
mmd                     unbiased, may be negative      0 ideal
c2st                    a classifier's accuracy        0.5 ideal, 1 worst
crps, spread_skill      ensemble against the truth     lower, 1 ideal
======================  =============================  ====================
"""

from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor

from guided.rng import Rng


def sliced_wasserstein(
    x: Tensor, y: Tensor, rng: Rng, *, projections: int = 512, order: Literal[1, 2] = 1
) -> float:
    r"""Return the sliced Wasserstein distance, exact along every random direction.

    .. math:: SW_p = \Big(\frac1L \sum_l \int_0^1 |F_l^{-1}(u) - G_l^{-1}(u)|^p du\Big)^{1/p}

    Args:
        x: shape (N, ...).
        y: shape (M, ...).
        rng: draws the directions; use equal seeds for numbers that are to be compared.
        projections: the number L of directions.
        order: the p above.

    Source: Bonneel et al. 2015, Sliced and Radon Wasserstein barycenters of measures.
    """
    x, y = _vectors(x, y)
    if order not in (1, 2):
        raise ValueError(f"the order of a Wasserstein distance here is 1 or 2, got {order}")
    directions = rng.normal((projections, x.shape[1]), torch.float64, x.device)
    directions = directions / directions.norm(dim=1, keepdim=True)
    # Both quantile functions are constant between these levels, counted in units of 1 / (N M).
    n, m = len(x), len(y)
    ends = [torch.arange(1, n + 1) * m, torch.arange(1, m + 1) * n]
    levels = torch.cat([torch.zeros(1, dtype=torch.long), *ends]).unique().to(x.device)
    width = levels.diff().double() / (n * m)
    i, j = levels[:-1] // m, levels[:-1] // n
    total = 0.0
    for some in directions.split(64):
        gap = (x @ some.T).sort(0).values[i] - (y @ some.T).sort(0).values[j]
        total += float((width @ gap.abs() ** order).sum())
    return (total / projections) ** (1 / order)


def energy_distance(x: Tensor, y: Tensor) -> float:
    r"""Return the energy distance, an unbiased U-statistic (not its square root).

    .. math:: 2 E|X - Y| - E|X - X'| - E|Y - Y'|

    Args:
        x: shape (N, ...), N at least 2.
        y: shape (M, ...), M at least 2.

    Source: Székely & Rizzo 2013, Energy statistics: a class of statistics based on distances.
    """
    return -_contrast(*_vectors(x, y, least=2), lambda distance: distance)


def mmd(x: Tensor, y: Tensor) -> float:
    r"""Return the squared maximum mean discrepancy, an unbiased U-statistic.

    .. math:: E k(X, X') + E k(Y, Y') - 2 E k(X, Y), \quad
              k(a, b) = \tfrac13 \sum_{c \in \{1/2, 1, 2\}} \exp(-|a - b|^2 / (2 c^2 h^2))

    with h the median distance within the pooled samples (of 1000 points of each at most).

    Args:
        x: shape (N, ...), N at least 2.
        y: shape (M, ...), M at least 2.

    Raises:
        ValueError: if more than half of the points coincide, so that the median is 0.

    Source: Gretton et al. 2012, A kernel two-sample test, eq. 3.
    """
    x, y = _vectors(x, y, least=2)
    pool = torch.cat([s[:: -(-len(s) // 1000)] for s in (x, y)])
    median = float(torch.pdist(pool).median())
    if median == 0:
        raise ValueError("the median distance is 0, got mostly equal points; mmd has no bandwidth")

    def kernel(distance: Tensor) -> Tensor:
        scaled = (distance / median).square()
        return torch.stack([(-scaled / (2 * c * c)).exp() for c in (0.5, 1.0, 2.0)]).mean(0)

    return _contrast(x, y, kernel)


def c2st(x: Tensor, y: Tensor, *, neighbours: int = 5) -> float:
    """Return the leave-one-out accuracy of a nearest-neighbour classifier of x against y.

    The accuracy is the mean of those of the two classes, so that 0.5 is ideal for unequal sizes
    too. Distances are Euclidean and unscaled. Below 0.5 means that one set repeats the other.

    Args:
        x: shape (N, ...).
        y: shape (M, ...).
        neighbours: an odd number of voters, fewer than N + M.

    Source: Lopez-Paz & Oquab 2017, Revisiting classifier two-sample tests, section 3 (C2ST-KNN).
    """
    x, y = _vectors(x, y)
    if neighbours % 2 == 0 or not 0 < neighbours < len(x) + len(y):
        raise ValueError(f"c2st needs an odd number of neighbours below N + M, got {neighbours}")
    pool = torch.cat([x, y])
    is_x = torch.arange(len(pool), device=pool.device) < len(x)
    votes = []
    for start, distance in _distances(pool, pool):
        row = torch.arange(len(distance), device=pool.device)
        distance[row, row + start] = torch.inf
        nearest = distance.topk(neighbours, largest=False).indices
        votes.append(is_x[nearest].double().mean(1) > 0.5)
    right = (torch.cat(votes) == is_x).double()
    return float(0.5 * (right[is_x].mean() + right[~is_x].mean()))


def crps(members: Tensor, truth: Tensor) -> float:
    r"""Return the continuous ranked probability score, averaged over samples and coordinates.

    .. math:: \frac1M \sum_i |z_i - z| - \frac{1}{2 M (M - 1)} \sum_{i,j} |z_i - z_j|

    The fair form: its expectation does not depend on the ensemble's size M.

    Args:
        members: an ensemble per sample, shape (B, M, ...), M at least 2.
        truth: shape (B, ...).

    Source: Ferro 2014, Fair scores for ensemble forecasts, section 3.
    """
    members, truth = _ensemble(members, truth)
    m = members.shape[1]
    # sum_ij |z_i - z_j| = 2 sum_i (2 i - m - 1) z_(i) with sorted z, i = 1..m.
    rank = torch.arange(1 - m, m, 2, dtype=torch.float64, device=members.device)
    spread = torch.einsum("m,bmd->bd", rank, members.sort(1).values) / (m * (m - 1))
    return float(((members - truth[:, None]).abs().mean(1) - spread).mean())


def spread_skill(members: Tensor, truth: Tensor) -> float:
    r"""Return the spread-skill ratio; 1 is calibrated, below 1 overconfident.

    .. math:: \sqrt{\tfrac{M + 1}{M} \overline{\mathrm{var}}} \Big/
              \sqrt{\overline{(\bar z - z)^2}}

    Args:
        members: an ensemble per sample, shape (B, M, ...), M at least 2.
        truth: shape (B, ...).

    Source: Fortin et al. 2014, Why should ensemble spread match the RMSE of the ensemble mean?
    """
    members, truth = _ensemble(members, truth)
    m = members.shape[1]
    error = (members.mean(1) - truth).square().mean()
    return float(((m + 1) / m * members.var(1).mean() / error).sqrt())


def _vectors(x: Tensor, y: Tensor, least: int = 1) -> tuple[Tensor, Tensor]:
    if x.ndim < 2 or x.shape[1:] != y.shape[1:] or min(len(x), len(y)) < least:
        raise ValueError(
            f"samples have shapes (N, ...) and (M, ...) with equal axes after the first and at "
            f"least {least} each, got {tuple(x.shape)} and {tuple(y.shape)}"
        )
    return x.detach().flatten(1).double(), y.detach().flatten(1).double()


def _ensemble(members: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    if members.ndim < 2 or members[:, 0].shape != truth.shape or members.shape[1] < 2:
        raise ValueError(
            f"an ensemble has shape (B, M, ...) with M >= 2 and its truth (B, ...), got "
            f"{tuple(members.shape)} and {tuple(truth.shape)}"
        )
    shape = len(members), members.shape[1], -1
    return members.detach().double().reshape(shape), truth.detach().double().reshape(len(truth), -1)


def _distances(x: Tensor, y: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield the first row and the distances (rows, M) of blocks of about 4 million pairs."""
    size = max(1, 2**22 // len(y))
    for start in range(0, len(x), size):
        # Without the matrix product, which loses small distances to rounding.
        mode = "donot_use_mm_for_euclid_dist"
        yield start, torch.cdist(x[start : start + size], y, compute_mode=mode)


def _contrast(x: Tensor, y: Tensor, kernel: Callable[[Tensor], Tensor]) -> float:
    """Return E k(X, X') + E k(Y, Y') - 2 E k(X, Y), without the pairs of a point and itself."""

    def total(a: Tensor, b: Tensor) -> float:
        return sum(float(kernel(distance).sum()) for _, distance in _distances(a, b))

    own = float(kernel(x.new_zeros(())))
    n, m = len(x), len(y)
    within_x = (total(x, x) - n * own) / (n * (n - 1))
    within_y = (total(y, y) - m * own) / (m * (m - 1))
    return within_x + within_y - 2 * total(x, y) / (n * m)
