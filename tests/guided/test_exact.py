"""The closed forms, against quadrature, autograd, SciPy and importance sampling."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from guided.exact import ExactClassEnergy, Mixture, QuadraticEnergy, gaussian
from guided.rng import Rng
from guided.schedule import VE, Level, RectifiedFlow, VPLinear
from tests.guided.mixtures import (
    D64,
    KINDS,
    LEVELS,
    SHAPES,
    close,
    covs,
    law,
    line,
    matrices,
    randn,
    score_by_autograd,
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_density_of_every_kind_of_covariance_is_scipys(kind, shape):
    given, size = covs(kind, 3, shape), math.prod(shape)
    mixture, x = law(shape, kind), 2 * randn(5, *shape)
    dense = {
        "scalar": lambda: 0.4 * torch.eye(size, dtype=D64).expand(3, -1, -1),
        "isotropic": lambda: given[:, None, None] * torch.eye(size, dtype=D64),
        "diagonal": lambda: torch.diag_embed(given.flatten(1)),
        "full": lambda: given,
    }[kind]()
    means = 1.5 * Rng(1).normal((3, *shape), D64)
    expected = sum(
        w * multivariate_normal(m.flatten().numpy(), s.numpy()).pdf(x.flatten(1).numpy())
        for w, m, s in zip([0.5, 0.2, 0.3], means, dense, strict=True)
    )
    close(mixture.log_prob(x), np.log(expected))
    close(mixture.score(x), score_by_autograd(mixture, x))
    close(mixture.means, means)
    mean = torch.einsum("k,kd->d", mixture.weights, means.flatten(1))
    second = dense + means.flatten(1)[:, :, None] * means.flatten(1)[:, None, :]
    close(mixture.mean().flatten(), mean)
    close(mixture.cov(), torch.einsum("k,kij->ij", mixture.weights, second) - mean.outer(mean))


def test_responsibilities_are_bayes_rule():
    mixture, x = law(), randn(4, 3)
    parts = [
        w * multivariate_normal(m.numpy(), s).pdf(x.numpy())
        for w, m, s in zip(mixture.weights.numpy(), mixture.means, matrices(mixture), strict=True)
    ]
    close(mixture.responsibilities(x), np.stack(parts, 1) / np.sum(parts, 0)[:, None])


@pytest.mark.parametrize("level", LEVELS)
def test_posterior_in_one_dimension_is_the_integral(level):
    mixture, grid = line()
    x = torch.tensor([-2.1, -0.4, 0.7, 1.9], dtype=D64)
    log = (
        mixture.log_prob(grid[:, None])
        - 0.5 * ((x[:, None] - level.alpha * grid) / level.sigma) ** 2
    )
    p = log.softmax(1)
    x0, eps = mixture.predict(x[:, None], level)
    mean = (p * grid).sum(1)
    close(x0[:, 0], mean)
    close(eps[:, 0], (x - level.alpha * mean) / level.sigma)
    posterior = mixture.conditional(x[:, None], level)
    close(posterior.mean()[:, 0], mean)
    close(posterior.cov()[:, 0, 0], (p * grid**2).sum(1) - mean**2)
    h = float(grid[1] - grid[0])
    marginal = (log.logsumexp(1) + math.log(h)) - math.log(level.sigma * math.sqrt(2 * math.pi))
    close(mixture.noised(level).log_prob(x[:, None]), marginal)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_tweedie_and_the_jacobian(shape, kind, level):
    mixture, x = law(shape, kind), 1.5 * randn(4, *shape)
    x0, eps = mixture.predict(x, level)
    score = score_by_autograd(mixture.noised(level), x)
    close((level.alpha * x0 - x) / level.sigma**2, score)
    close(-eps / level.sigma, score)
    close(mixture.denoise(x, level), x0)
    if level.alpha == 0:
        close(x0, mixture.mean().expand_as(x))
        return
    jacobian = torch.func.vmap(torch.func.jacrev(lambda y: _flat_denoise(mixture, y, level)))(x)
    cov = mixture.conditional(x, level).cov()
    close(cov, level.sigma**2 / level.alpha * jacobian.reshape(cov.shape))


def _flat_denoise(mixture, y, level):
    # A vmapped call has no data-dependent control flow: the score by hand.
    noised = mixture.noised(level)
    offset = noised.means.flatten(1) - y.flatten()
    precision = torch.linalg.inv(noised.covariances.matrices())
    pull = torch.einsum("kij,kj->ki", precision, offset)
    log = noised.log_weights - 0.5 * (pull * offset).sum(1) + 0.5 * torch.logdet(precision)
    return (y.flatten() + level.sigma**2 * log.softmax(0) @ pull) / level.alpha


def test_the_conditional_law_is_the_joint_density_over_the_marginal():
    mixture, level, x = law((2, 2)), LEVELS[0], randn(6, 2, 2)
    x0 = randn(6, 2, 2, seed=3)
    kernel = -0.5 * ((x - level.alpha * x0) / level.sigma).square().flatten(1).sum(1)
    kernel = kernel - 4 * math.log(level.sigma * math.sqrt(2 * math.pi))
    joint = mixture.log_prob(x0) + kernel
    close(mixture.conditional(x, level).log_prob(x0), joint - mixture.noised(level).log_prob(x))


def test_at_sigma_0_the_prediction_is_the_sample():
    x0, eps = law().predict(randn(4, 3), Level(0.0, 0.5, 0.0))
    close(x0, 2 * randn(4, 3))
    assert not eps.any()


@pytest.mark.parametrize("kind", ["diagonal", "full"])
def test_sampling(kind):
    mixture = law((2, 2), kind)
    x = mixture.sample(200_000, Rng(5))
    assert x.shape == (200_000, 2, 2) and x.dtype == D64
    close(x.mean(0), mixture.mean(), 0.02)
    close(torch.cov(x.flatten(1).T), mixture.cov(), 0.05)
    close(mixture.responsibilities(x).mean(0), mixture.weights, 0.005)
    # The density agrees too: E[score] = 0 and E[x . score] = -D.
    close((x * mixture.score(x)).flatten(1).sum(1).mean(), -4.0, 0.05)


def test_rows_of_a_conditional_law_are_sampled_side_by_side():
    mixture, level, x = law(), LEVELS[0], randn(4, 3)
    posterior = mixture.conditional(x, level)
    draws = posterior.sample(50_000, Rng(3)).unflatten(0, (4, 50_000))
    close(draws.mean(1), posterior.mean(), 0.02)
    for i in range(4):
        close(torch.cov(draws[i].T), posterior.cov()[i], 0.05)
    alone = mixture.conditional(x[2:3], level).sample(6, Rng.per_sample(9, 1, first=2))
    close(posterior.sample(6, Rng.per_sample(9, 4))[12:18], alone, 1e-12)


def test_a_zero_weight_component_is_never_drawn():
    mixture = Mixture(torch.tensor([0.0, 1.0, 0.0]), torch.tensor([[-9.0], [0.0], [9.0]]), 0.01)
    assert mixture.sample(2000, Rng(0)).abs().max() < 1


def test_class_conditional_denoiser_is_the_sub_mixture_row_by_row():
    mixture, classes, schedule = law(), torch.tensor([4, 7, 4]), VPLinear()
    level, x = schedule.level(0.3), randn(4, 3)
    denoiser = mixture.denoiser(schedule, classes)
    x0, eps = denoiser(x, level, torch.tensor([4, 7, -1, 4]))
    means, full = mixture.means, mixture.covariances.matrices()
    keep = torch.tensor([0, 2])
    four = Mixture(mixture.weights[keep], means[keep], full[keep])
    seven = gaussian(means[1], full[1])
    for i, single in enumerate([four, seven, mixture, four]):
        close(x0[i], single.denoise(x[i : i + 1], level)[0])
        close(eps[i], single.predict(x[i : i + 1], level).eps[0])
    close(denoiser(x, level).x0, mixture.denoise(x, level))
    assert denoiser.schedule is schedule


def test_class_energy_turns_the_mixture_into_the_class():
    """Bayes: score of p_t(x | c) = score of p_t(x) - grad E_t(x), and E_t sums to one."""
    mixture, classes, level = law(), torch.tensor([0, 1, 0]), LEVELS[0]
    energy, labels = ExactClassEnergy(mixture, classes), torch.tensor([0, 1, 1, 0, 0])
    x = randn(5, 3).requires_grad_()
    value = energy(x, level, labels)
    slope = torch.autograd.grad(value.sum(), x)[0]
    conditional = mixture.denoiser(VPLinear(), classes)(x.detach(), level, labels)
    close(mixture.noised(level).score(x.detach()) - slope, -conditional.eps / level.sigma)
    close((-value).exp() + (-energy(x, level, 1 - labels)).exp(), torch.ones(5))


def test_rows_are_independent_and_may_have_their_own_level():
    mixture, x, schedule = law((2, 3)), randn(64, 2, 3), RectifiedFlow()
    batch = mixture.predict(x, schedule.level(0.4))
    times = torch.linspace(0.1, 1.0, 64, dtype=D64).reshape(64, 1, 1)
    several = mixture.predict(x, schedule.level(times))
    for i in (0, 17, 63):
        alone = mixture.predict(x[i : i + 1], schedule.level(0.4))
        close(alone.x0[0], batch.x0[i], 1e-13)
        alone = mixture.predict(x[i : i + 1], schedule.level(float(times[i])))
        close(alone.x0[0], several.x0[i], 1e-12)
        close(alone.eps[0], several.eps[i], 1e-12)


def test_a_mixture_of_points_is_a_data_set():
    points = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=D64)
    data, x = Mixture(torch.ones(2), points, 0.0), torch.tensor([[0.6, 0.5]], dtype=D64)
    distance = (x - points).square().sum(1)
    close(data.denoise(x, Level(0.1, 1.0, 0.3)), ((-distance / 0.18).softmax(0) @ points)[None])
    assert {tuple(p) for p in data.sample(50, Rng(0)).tolist()} == {(0.0, 0.0), (1.0, 1.0)}
    with pytest.raises(ValueError, match="singular"):
        data.log_prob(x)
    Q, b = 2.0, torch.tensor([1.0, 0.0], dtype=D64)
    tilted, log_z = data.tilted_quadratic(Q, b)
    close(tilted.weights, torch.tensor([0.5, 0.5]))
    close(log_z, -1.0)


@pytest.mark.parametrize("kind", ["isotropic", "full"])
def test_single_precision_stays_accurate_at_small_sigma(kind):
    exact = law((8,), kind)
    single = Mixture(
        exact.weights.float(),
        exact.means.float(),
        exact.covariances.matrices().float(),
    )
    noise, clean = Rng(2).normal((256, 8), D64), exact.sample(256, Rng(1))
    for sigma in (1e-5, 1e-3, 0.1, 1.0, 80.0):
        level = Level(0.0, 1.0, sigma)
        x = (clean + sigma * noise).float()
        x0, eps = single.predict(x, level)
        truth = exact.predict(x.double(), level)
        assert x0.dtype == eps.dtype == torch.float32
        close(x0.double(), truth.x0, 1e-4)
        # As a posterior mean of N(0, 1) noise, eps is at most of size 1.
        close(eps.double(), truth.eps, 2e-3)


def test_a_denoiser_answers_in_the_dtype_of_x_and_computes_in_that_of_the_law():
    denoiser = law().denoiser(VE())
    x = randn(4, 3)
    x0, eps = denoiser(x.float(), Level(0.1, 1.0, 0.2))
    assert x0.dtype == eps.dtype == torch.float32
    close(x0.double(), denoiser(x.float().double(), Level(0.1, 1.0, 0.2)).x0, 1e-6)


def test_many_numbers_with_isotropic_components_need_no_matrices():
    means = Rng(1).normal((4, 100, 100))
    mixture = Mixture(torch.ones(4), means, torch.tensor([0.1, 0.2, 0.3, 0.4]))
    x0, eps = mixture.predict(means + 0.1, Level(0.1, 0.9, 0.5))
    assert x0.shape == eps.shape == (4, 100, 100)
    tilted, _ = mixture.tilted_linear(torch.ones(100, 100))
    close(
        tilted.means - means,
        -torch.tensor([0.1, 0.2, 0.3, 0.4])[:, None, None].expand(4, 100, 100),
        1e-5,
    )


def test_inputs_are_not_changed():
    mixture, x = law(), randn(4, 3)
    before = x.clone(), mixture.centres.clone(), mixture.covariances.variances.clone()
    mixture.predict(x, LEVELS[0])
    mixture.tilted_quadratic(2.0, x[0])
    mixture.conditional(x, LEVELS[0]).sample(2, Rng(0))
    after = x, mixture.centres, mixture.covariances.variances
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_bad_input_is_refused_in_words():
    one, eye = torch.ones(2), torch.zeros(2, 3)
    with pytest.raises(ValueError, match="weights"):
        Mixture(torch.ones(3), eye, 1.0)
    with pytest.raises(ValueError, match="at least 0"):
        Mixture(torch.tensor([1.0, -1.0]), eye, 1.0)
    with pytest.raises(ValueError, match="eigenvalues"):
        Mixture(one, eye, -1.0)
    with pytest.raises(ValueError, match="symmetric"):
        Mixture(one, eye, torch.triu(torch.ones(2, 3, 3)))
    with pytest.raises(ValueError, match="got shape"):
        Mixture(one, eye, torch.ones(2, 2))
    with pytest.raises(ValueError, match="eigenvalues"):
        QuadraticEnergy(torch.diag(torch.tensor([1.0, -1.0])), torch.zeros(2))
    mixture = Mixture(one, eye, 1.0)
    with pytest.raises(ValueError, match="samples of shape"):
        mixture.log_prob(torch.zeros(2, 4))
    with pytest.raises(ValueError, match="above 0"):
        mixture.measured(torch.ones(1, 3), torch.ones(1), 0.0)
    with pytest.raises(ValueError, match="A \\(r, 3\\)"):
        mixture.measured(torch.ones(1, 3), torch.ones(2), 1.0)
    with pytest.raises(ValueError, match="one noise level per sample"):
        mixture.predict(torch.zeros(2, 3), Level(torch.ones(2, 3), torch.ones(2, 3), 1.0))
    with pytest.raises(ValueError, match="single level"):
        levels = torch.full((2, 1), 0.5)
        mixture.conditional(torch.zeros(2, 3), Level(levels, levels, levels)).tilted_quadratic(
            1.0, eye[0]
        )
    with pytest.raises(ValueError, match="null label"):
        mixture.denoiser(VE(), torch.tensor([0, -1]))
    with pytest.raises(ValueError, match="one label per component"):
        mixture.denoiser(VE(), torch.tensor([0]))
    with pytest.raises(ValueError, match="chose no component"):
        mixture.denoiser(VE(), torch.tensor([0, 1]))(
            eye, Level(0.5, 1.0, 1.0), torch.tensor([0, 5])
        )
    with pytest.raises(ValueError, match="no classes"):
        mixture.denoiser(VE())(eye, Level(0.5, 1.0, 1.0), torch.tensor([0, 0]))
    with pytest.raises(ValueError, match="labels"):
        ExactClassEnergy(mixture, torch.tensor([0, 1]))(eye, Level(0.5, 1.0, 1.0))
