"""Fréchet distance against scipy, precision and recall against a loop over all pairs."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from guided.fidelity import coverage, frechet_distance, saturation
from guided.rng import Rng


def features(n, f, seed, scale=1.0):
    return scale * Rng(seed).normal((n, f), torch.float64)


def test_frechet_distance_is_the_formula():
    x, y = features(40, 5, 0) @ features(5, 5, 1), features(60, 5, 2, 0.7) + 0.3
    a, b = np.cov(x.numpy(), rowvar=False), np.cov(y.numpy(), rowvar=False)
    gap = ((x.mean(0) - y.mean(0)) ** 2).sum().item()
    wanted = gap + np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert frechet_distance(x, y) == pytest.approx(wanted, rel=1e-9)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(x, x + 2) == pytest.approx(20)


def test_frechet_distance_of_one_feature_and_of_a_flat_direction():
    x, y = features(2000, 1, 0), features(2000, 1, 1)
    wanted = (x.mean() - y.mean()) ** 2 + (x.std() - y.std()) ** 2
    assert frechet_distance(x, y) == pytest.approx(wanted.item(), rel=1e-9)
    flat = torch.cat([x, torch.zeros_like(x)], 1)
    assert frechet_distance(flat, flat + torch.tensor([0.0, 3.0])) == pytest.approx(9)


def slow_coverage(generated, data, k):
    def reach(points):
        return [sorted((p - q).norm().item() for q in points)[k] for p in points]

    reals, fakes = reach(data), reach(generated)
    d = [[(g - r).norm().item() for r in data] for g in generated]
    n, m = len(generated), len(data)
    precision = sum(any(d[i][j] <= reals[j] for j in range(m)) for i in range(n)) / n
    recall = sum(any(d[i][j] <= fakes[i] for i in range(n)) for j in range(m)) / m
    density = sum(d[i][j] <= reals[j] for i in range(n) for j in range(m)) / (k * n)
    covered = sum(any(d[i][j] <= reals[j] for i in range(n)) for j in range(m)) / m
    return precision, recall, density, covered


@pytest.mark.parametrize("k", [1, 3])
def test_coverage_is_the_definition(k):
    generated, data = features(17, 3, 0, 0.6), features(23, 3, 1)
    assert tuple(coverage(generated, data, k)) == pytest.approx(slow_coverage(generated, data, k))


def test_coverage_sees_a_lost_mode_and_a_stray_one():
    left, right = features(100, 2, 0, 0.1), features(100, 2, 1, 0.1) + 10
    found = coverage(features(200, 2, 2, 0.1), torch.cat([left, right]))
    assert found.precision > 0.9 and found.recall < 0.55 and found.coverage < 0.55
    found = coverage(torch.cat([features(100, 2, 2, 0.1), right]), left)
    assert found.precision < 0.55 and found.recall > 0.9


def test_saturation_counts_entries():
    assert saturation(torch.tensor([[0.0, 1.5], [-2.0, 1.2]]), 1.2) == 0.5


def test_wrong_features_are_refused():
    with pytest.raises(ValueError, match=r"at least 2 samples each, got \(1, 3\) and \(5, 3\)"):
        frechet_distance(torch.zeros(1, 3), torch.zeros(5, 3))
    with pytest.raises(ValueError, match=r"at least 4 samples each, got \(3, 2\)"):
        coverage(torch.zeros(3, 2), torch.zeros(9, 2))
