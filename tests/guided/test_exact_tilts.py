"""Tilts, measurements and noise-aware energies, against quadrature, SciPy and sampling."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from guided.exact import LinearEnergy, QuadraticEnergy
from guided.rng import Rng
from guided.schedule import Level
from tests.guided.mixtures import (
    D64,
    KINDS,
    LEVELS,
    SHAPES,
    close,
    law,
    line,
    matrices,
    randn,
    spd,
)


@pytest.mark.parametrize("shape", SHAPES)
def test_linear_tilt_in_one_dimension_and_by_importance_sampling(shape):
    mixture, grid = line()
    energy = LinearEnergy(torch.tensor([0.8], dtype=D64))
    tilted, log_z = mixture.tilted(energy)
    _check_on_grid(tilted, log_z, mixture.log_prob(grid[:, None]) - energy(grid[:, None]), grid)
    _check_by_importance(law(shape), LinearEnergy(0.3 * randn(*shape)))


@pytest.mark.parametrize("shape", SHAPES)
def test_quadratic_tilt_in_one_dimension_and_by_importance_sampling(shape):
    mixture, grid = line()
    energy = QuadraticEnergy(2.5, torch.tensor([0.7], dtype=D64))
    tilted, log_z = mixture.tilted(energy)
    _check_on_grid(tilted, log_z, mixture.log_prob(grid[:, None]) - energy(grid[:, None]), grid)
    Q = 0.1 * spd(1, math.prod(shape), 4)[0]
    _check_by_importance(law(shape), QuadraticEnergy(Q, randn(*shape)))


def _check_on_grid(tilted, log_z, log, grid):
    """The tilted law against the unnormalised density ``log`` on a grid."""
    h = float(grid[1] - grid[0])
    close(log_z, log.logsumexp(0) + math.log(h))
    close(tilted.log_prob(grid[::500, None]), log[::500] - log_z)
    p = log.softmax(0)
    close(tilted.mean()[0], (p * grid).sum())
    close(tilted.cov()[0, 0], (p * grid**2).sum() - (p * grid).sum() ** 2)
    close(tilted.weights.sum(), 1.0)


def _check_by_importance(mixture, energy):
    x = mixture.sample(400_000, Rng(2))
    tilted, log_z = mixture.tilted(energy)
    log = -energy(x)
    assert abs(float(log.logsumexp(0)) - math.log(len(x)) - float(log_z)) < 0.02
    mean = torch.einsum("n,nd->d", log.softmax(0), x.flatten(1))
    offset = x.flatten(1) - mean
    cov = torch.einsum("n,ni,nj->ij", log.softmax(0), offset, offset)
    close(tilted.mean().flatten(), mean, 0.04)
    close(tilted.cov(), cov, 0.1)
    # Exactly p exp(-E) / Z, pointwise.
    close(tilted.log_prob(x[:50]), mixture.log_prob(x[:50]) - energy(x[:50]) - log_z)


@pytest.mark.parametrize("kind", KINDS)
def test_two_dimensional_tilts_against_quadrature(kind):
    mixture, axis = law((2,), kind), torch.linspace(-12, 12, 601, dtype=D64)
    grid = torch.cartesian_prod(axis, axis)
    for energy in (
        LinearEnergy(torch.tensor([0.4, -0.6], dtype=D64)),
        QuadraticEnergy(torch.tensor([[1.5, -1.0], [-1.0, 1.2]], dtype=D64), randn(2)),
        QuadraticEnergy(torch.tensor([3.0, 0.0], dtype=D64), randn(2)),
    ):
        tilted, log_z = mixture.tilted(energy)
        log = mixture.log_prob(grid) - energy(grid)
        close(log_z, log.logsumexp(0) + 2 * math.log(0.04), 1e-8)
        close(tilted.mean(), log.softmax(0) @ grid, 1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_measured_is_the_kalman_update_of_every_component(kind):
    mixture, noise = law((2, 2), kind), torch.tensor([0.3, 0.7], dtype=D64)
    A, y = randn(2, 2, 2, seed=8), randn(2)
    posterior, log_evidence = mixture.measured(A, y, noise)
    flat, R = A.flatten(1).numpy(), np.diag(noise.numpy() ** 2)
    weights, means, covariances = [], [], []
    for w, m, S in zip(mixture.weights, mixture.means, matrices(mixture), strict=True):
        m, innovation = m.flatten().numpy(), flat @ S @ flat.T + R
        gain = S @ flat.T @ np.linalg.inv(innovation)
        weights.append(float(w) * multivariate_normal(flat @ m, innovation).pdf(y.numpy()))
        means.append(m + gain @ (y.numpy() - flat @ m))
        covariances.append((np.eye(4) - gain @ flat) @ S)
    close(log_evidence, math.log(sum(weights)))
    close(posterior.weights, np.array(weights) / sum(weights))
    close(posterior.means.flatten(1), np.stack(means))
    close(matrices(posterior), np.stack(covariances))


def test_measuring_more_numbers_than_there_are():
    """r > D: the same as one measurement after the other."""
    mixture, A, y = law(), randn(5, 3, seed=8), randn(5)
    at_once, log_evidence = mixture.measured(A, y, 0.4)
    first, log_first = mixture.measured(A[:2], y[:2], 0.4)
    both, log_second = first.measured(A[2:], y[2:], 0.4)
    close(log_evidence, log_first + log_second)
    x = randn(6, 3)
    close(at_once.log_prob(x), both.log_prob(x))


def test_the_guidance_term_of_a_measurement():
    """The evidence of x0 | x_t is that of the noised law: p(y | x_t) = p(x_t | y) p(y) / p(x_t)."""
    mixture, level, x = law(), LEVELS[0], randn(5, 3)
    A, y = randn(2, 3, seed=8), randn(2)
    posterior, log_evidence = mixture.measured(A, y, 0.2)
    _, direct = mixture.conditional(x, level).measured(A, y, 0.2)
    bayes = posterior.noised(level).log_prob(x) - mixture.noised(level).log_prob(x) + log_evidence
    close(direct, bayes)
    rowwise = mixture.measured(A, y.expand(5, 2) * torch.arange(5)[:, None], 0.2)[1]
    for i in range(5):
        close(rowwise[i], mixture.measured(A, y * i, 0.2)[1])


ENERGIES = [
    lambda shape: LinearEnergy(0.7 * randn(*shape)),
    lambda shape: QuadraticEnergy(spd(1, math.prod(shape), 4)[0], randn(*shape)),
    lambda shape: QuadraticEnergy(Rng(2).uniform(shape, D64) / 1e-4, randn(*shape)),
]


@pytest.mark.parametrize("level", [level for level in LEVELS if level.alpha])
@pytest.mark.parametrize("make", ENERGIES, ids=["linear", "quadratic", "sharp"])
@pytest.mark.parametrize("shape", SHAPES)
def test_noisy_energy_is_the_conditional_expectation(shape, make, level):
    """-log E[exp(-E) | x_t], from the law of x0 | x_t; and its gradient from the tilted law."""
    mixture, energy, x = law(shape), make(shape), randn(4, *shape)
    noisy = mixture.noisy_energy(energy)
    tilted, log_z = mixture.conditional(x, level).tilted(energy)
    close(noisy(x, level, None), -log_z)
    leaf = x.clone().requires_grad_()
    slope = torch.autograd.grad(noisy(leaf, level).sum(), leaf)[0]
    # grad E_t = (alpha / sigma^2) (E[x0 | x_t] under p minus under q), by the two posteriors.
    shift = mixture.conditional(x, level).mean() - tilted.mean()
    close(slope, level.alpha / level.sigma**2 * shift)
    guided = mixture.noised(level).score(x) - slope
    close(mixture.tilted(energy)[0].noised(level).score(x), guided)


def test_noisy_energy_in_one_dimension_is_the_integral():
    mixture, grid = line()
    energy = QuadraticEnergy(4.0, torch.tensor([0.7], dtype=D64))
    x = torch.tensor([-1.0, 0.2, 2.0], dtype=D64)
    for level in LEVELS:
        kernel = -0.5 * ((x[:, None] - level.alpha * grid) / level.sigma) ** 2
        p = (mixture.log_prob(grid[:, None]) + kernel).log_softmax(1)
        expected = -(p - energy(grid[:, None])).logsumexp(1)
        close(mixture.noisy_energy(energy)(x[:, None], level), expected)


def test_noisy_energy_ends_in_the_energy_and_starts_in_log_z():
    mixture, energy, x = law((2, 2)), ENERGIES[1]((2, 2)), randn(5, 2, 2)
    noisy = mixture.noisy_energy(energy)
    assert noisy.differentiable and energy.differentiable
    close(noisy(2 * x, Level(0.0, 2.0, 0.0)), energy(x))
    close(noisy(x, Level(1.0, 0.0, 1.0)), -mixture.tilted(energy)[1].expand(5))


def test_energies_by_hand():
    x = torch.tensor([[[1.0, 2.0]], [[0.0, -1.0]]], dtype=D64)
    b = torch.tensor([[1.0, 1.0]], dtype=D64)
    close(LinearEnergy(torch.tensor([[3.0, 4.0]], dtype=D64))(x), [11.0, -4.0])
    close(QuadraticEnergy(2.0, b)(x), [1.0, 5.0])
    close(QuadraticEnergy(torch.tensor([[4.0, 2.0]], dtype=D64), b)(x), [1.0, 6.0])
    Q = torch.tensor([[2.0, 1.0], [1.0, 3.0]], dtype=D64)
    close(QuadraticEnergy(Q, b)(x), [1.5, 1.0 + 6.0 + 2.0])
