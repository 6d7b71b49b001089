"""Metrics against closed forms, SciPy and brute force; unbiasedness; the null; invariances."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import energy_distance as scipy_energy
from scipy.stats import wasserstein_distance

from guided import metrics
from guided.metrics import c2st, crps, energy_distance, mmd, sliced_wasserstein, spread_skill
from guided.rng import Rng

D64 = torch.float64
TWO_SAMPLE = [
    lambda x, y: sliced_wasserstein(x, y, Rng(0), projections=32),
    energy_distance,
    mmd,
    c2st,
]
NAMES = ["sw", "energy", "mmd", "c2st"]


def normal(n, *shape, seed=0):
    return Rng(seed).normal((n, *shape), D64)


@pytest.mark.parametrize("order", [1, 2])
def test_sliced_wasserstein_of_a_shift(order):
    """Along u a shift by v costs |u . v|: E|u . v| = |v| / 2 in 3-D, E(u . v)^2 = |v|^2 / 3."""
    x, v = normal(20, 3), torch.tensor([3.0, 0.0, 4.0], dtype=D64)
    distance = sliced_wasserstein(x, x + v, Rng(1), projections=4000, order=order)
    assert distance == pytest.approx(5 * {1: 0.5, 2: 1 / math.sqrt(3)}[order], rel=0.03)
    points = sliced_wasserstein(
        v.expand(7, 3), 0 * v.expand(3, 3), Rng(1), projections=4000, order=order
    )
    assert points == pytest.approx(distance)


@pytest.mark.parametrize("sizes", [(40, 40), (40, 33), (9, 60), (1, 5)])
def test_sliced_wasserstein_in_one_dimension_is_scipys(sizes):
    x, y = normal(sizes[0], 1), 2 * normal(sizes[1], 1, seed=1) + 0.5
    ours = sliced_wasserstein(x, y, Rng(0), projections=3)
    assert ours == pytest.approx(wasserstein_distance(x[:, 0], y[:, 0]), rel=1e-12)


def test_sliced_wasserstein_2_of_gaussians():
    """W_2 of N(a, s) and N(b, r) is sqrt((a - b)^2 + (s - r)^2)."""
    x, y = normal(200_000, 1), 3 * normal(100_000, 1, seed=1) + 1
    distance = sliced_wasserstein(x, y, Rng(0), projections=1, order=2)
    assert distance == pytest.approx(math.sqrt(1 + 4), rel=0.01)


def test_energy_distance_by_hand_and_by_scipy():
    x, y = torch.tensor([[0.0], [2.0]], dtype=D64), torch.tensor([[1.0], [4.0], [5.0]], dtype=D64)
    # 2 mean|x - y| = 2 * (1+4+5+1+2+3)/6; |x - x'| = 2; mean|y - y'| = (3+4+1)/3.
    assert energy_distance(x, y) == pytest.approx(2 * 16 / 6 - 2 - 8 / 3)
    x, y = normal(60, 1), normal(45, 1, seed=1) + 0.3
    # SciPy's is the root of the biased statistic over 2, which keeps the zeros on the diagonal.
    within = [float(torch.pdist(s).mean()) for s in (x, y)]
    biased = 2 * scipy_energy(x[:, 0], y[:, 0]) ** 2 / 2
    diagonal = within[0] / 60 + within[1] / 45
    assert energy_distance(x, y) == pytest.approx(biased - diagonal, rel=1e-9)


def test_energy_distance_of_gaussians():
    """E|N(m, s)| in closed form."""

    def absolute(m, s):
        return s * math.sqrt(2 / math.pi) * math.exp(-(m**2) / (2 * s**2)) + m * math.erf(
            m / (s * math.sqrt(2))
        )

    x, y = normal(3000, 1), 2 * normal(3000, 1, seed=1) + 1
    exact = 2 * absolute(1, math.sqrt(5)) - absolute(0, math.sqrt(2)) - absolute(0, math.sqrt(8))
    assert energy_distance(x, y) == pytest.approx(exact, abs=0.05)


def test_mmd_by_brute_force():
    x, y = normal(12, 3), normal(9, 3, seed=1) + 0.4
    pool = torch.cat([x, y])
    pairs = [float((pool[i] - pool[j]).norm()) for i in range(21) for j in range(i)]
    h = sorted(pairs)[(len(pairs) - 1) // 2]

    def k(a, b):
        d2 = float((a - b).square().sum())
        return sum(math.exp(-d2 / (2 * (c * h) ** 2)) for c in (0.5, 1, 2)) / 3

    xx = np.mean([k(x[i], x[j]) for i in range(12) for j in range(12) if i != j])
    yy = np.mean([k(y[i], y[j]) for i in range(9) for j in range(9) if i != j])
    xy = np.mean([k(a, b) for a in x for b in y])
    assert mmd(x, y) == pytest.approx(xx + yy - 2 * xy, rel=1e-9)


@pytest.mark.parametrize("metric", [energy_distance, mmd], ids=["energy", "mmd"])
def test_unbiased_under_the_null(metric):
    """Zero on average with both signs, also where the biased statistic is far above zero."""
    values = [metric(normal(10, 2, seed=i), normal(14, 2, seed=1000 + i)) for i in range(200)]
    mean, error = np.mean(values), np.std(values) / math.sqrt(len(values))
    assert abs(mean) < 3.5 * error
    assert 20 < sum(v < 0 for v in values) < 180
    assert metric(normal(200, 2), normal(200, 2, seed=1) + 2) > 0.2


def test_c2st_under_the_null_and_far_away():
    x, y = normal(1000, 4), normal(1000, 4, seed=1)
    assert c2st(x, y) == pytest.approx(0.5, abs=0.03)
    assert c2st(x, y[:300]) == pytest.approx(0.5, abs=0.03)
    assert c2st(x, y + 20) == 1.0
    assert 0.6 < c2st(x, y + torch.tensor([1.0, 0, 0, 0])) < 0.8
    # A point is never its own neighbour.
    assert c2st(x[:50], x[:50] + 1e-9) < 0.4


def test_c2st_by_hand():
    """On a line with 1 neighbour; x: 0, 1, 10 and y: 2.5, 11."""
    x, y = torch.tensor([[0.0], [1.0], [10.0]]), torch.tensor([[2.5], [11.0]])
    # 0 -> 1 right, 1 -> 0 right, 10 -> 11 wrong; 2.5 -> 1 wrong, 11 -> 10 wrong.
    assert c2st(x, y, neighbours=1) == pytest.approx((2 / 3 + 0) / 2)


@pytest.mark.parametrize("metric", TWO_SAMPLE, ids=NAMES)
def test_invariances(metric):
    x, y = normal(40, 2, 3), 1.3 * normal(31, 2, 3, seed=1)
    value = metric(x, y)
    before = x.clone()
    assert metric(y, x) == pytest.approx(value, rel=1e-9)
    assert metric(x.flip(0), y[torch.randperm(31, generator=torch.Generator().manual_seed(0))]) == (
        pytest.approx(value, rel=1e-9)
    )
    assert metric(x + 5, y + 5) == pytest.approx(value, rel=1e-7)
    assert metric(x.flatten(1), y.flatten(1)) == value
    assert metric(x.float(), y.float()) == pytest.approx(value, rel=1e-4)
    assert torch.equal(x, before)
    scale = {"sw": 4, "energy": 4, "mmd": 1, "c2st": 1}[NAMES[TWO_SAMPLE.index(metric)]]
    assert metric(4 * x, 4 * y) == pytest.approx(scale * value, rel=1e-9)


@pytest.mark.parametrize("metric", TWO_SAMPLE[1:], ids=NAMES[1:])
def test_chunks_change_nothing(metric, monkeypatch):
    x, y = normal(23, 2), normal(17, 2, seed=1)
    whole, blocks = metric(x, y), metrics._distances

    def small(a, b):
        for start in range(0, len(a), 5):
            yield from ((start + i, d) for i, d in blocks(a[start : start + 5], b))

    monkeypatch.setattr(metrics, "_distances", small)
    assert metric(x, y) == pytest.approx(whole, rel=1e-12)


def test_distances_come_in_blocks():
    x, y = normal(5000, 1), normal(2000, 1)
    starts = [(start, distance.shape) for start, distance in metrics._distances(x, y)]
    assert starts == [(0, (2097, 2000)), (2097, (2097, 2000)), (4194, (806, 2000))]


def test_crps_is_the_integral_of_the_squared_distribution_error():
    """The unfair CRPS is the integral of (F - 1[z <= t])^2; the fair one subtracts the bias."""
    members, truth = normal(6, 7, 2), normal(6, 2, seed=1)
    t = torch.linspace(-6, 6, 60_001, dtype=D64)
    unfair, pairs = [], []
    for z, obs in zip(members.transpose(1, 2).flatten(0, 1), truth.flatten(), strict=True):
        cdf = (z[:, None] <= t).double().mean(0)
        unfair.append(float(torch.trapezoid((cdf - (obs <= t).double()) ** 2, t)))
        pairs.append(float((z[:, None] - z[None]).abs().sum()))
    fair = np.mean(unfair) - np.mean(pairs) * (1 / (2 * 7 * 6) - 1 / (2 * 49))
    assert crps(members, truth) == pytest.approx(fair, abs=2e-4)


def test_crps_and_spread_skill_of_a_calibrated_ensemble():
    """CRPS of N(0, 1) against itself is 1 / sqrt(pi), whatever the size of the ensemble."""
    truth = normal(40_000)
    for m in (2, 10):
        members = normal(40_000, m, seed=m)
        assert crps(members, truth) == pytest.approx(1 / math.sqrt(math.pi), abs=0.02)
        assert spread_skill(members, truth) == pytest.approx(1.0, abs=0.02)
        # Var of the mean's error: 1 + 0.25 / m; spread: (m + 1) / m * 0.25.
        expected = math.sqrt((m + 1) / m * 0.25 / (1 + 0.25 / m))
        assert spread_skill(0.5 * members, truth) == pytest.approx(expected, abs=0.02)


def test_bad_input_is_refused_in_words():
    x = torch.zeros(4, 2)
    with pytest.raises(ValueError, match="equal axes"):
        energy_distance(x, torch.zeros(4, 3))
    with pytest.raises(ValueError, match="at least 2"):
        mmd(x, x[:1])
    with pytest.raises(ValueError, match="bandwidth"):
        mmd(x, x)
    with pytest.raises(ValueError, match="1 or 2"):
        sliced_wasserstein(x, x, Rng(0), order=3)
    with pytest.raises(ValueError, match="odd"):
        c2st(x, x, neighbours=4)
    with pytest.raises(ValueError, match="ensemble"):
        crps(torch.zeros(4, 1, 2), x)
