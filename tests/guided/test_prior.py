"""The Gaussian prior: moments, coordinates, and starts at any level."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import simpson
from scipy.optimize import brentq, minimize
from scipy.special import xlogy
from scipy.stats import norm
from torch.distributions import Categorical, MixtureSameFamily, Normal

from guided import DDIM, GaussianPrior, Heun, RectifiedFlow, Rng, Sampler, VPLinear
from guided.exact import Mixture, gaussian
from guided.schedule import uniform

F64 = torch.float64
PRIOR = GaussianPrior(Rng(0).normal((2, 3), F64), Rng(1).uniform((2, 3), F64) + 0.1)
STARTS = (0.2, 0.5, 1.0)


def test_encode_standardises_the_rows_of_each_request() -> None:
    x = Rng(2).normal((6, 3), F64)
    u = PRIOR.encode(x)
    for row in range(6):
        expected = (x[row] - PRIOR.mean[row // 3]) / PRIOR.std[row // 3]
        torch.testing.assert_close(u[row], expected)
    torch.testing.assert_close(PRIOR.decode(u), x)


def test_a_request_does_not_depend_on_the_others() -> None:
    x, level = Rng(2).normal((6, 3), F64), VPLinear().level(0.4)
    start = PRIOR.initial(3, level, Rng([7, 8]))
    for i, seed in enumerate((7, 8)):
        alone = GaussianPrior(PRIOR.mean[i : i + 1], PRIOR.std[i : i + 1])
        rows = slice(3 * i, 3 * i + 3)
        assert torch.equal(alone.encode(x[rows]), PRIOR.encode(x)[rows])
        assert torch.equal(alone.decode(x[rows]), PRIOR.decode(x)[rows])
        assert torch.equal(alone.initial(3, level, Rng([seed])), start[rows])


def test_rows_have_the_type_of_the_sample() -> None:
    x = torch.zeros(4, 3, dtype=torch.float32)
    rows = PRIOR.of_rows(x)
    assert rows.std.shape == (4, 3)
    assert rows.std.dtype == PRIOR.encode(x).dtype == torch.float32
    torch.testing.assert_close(rows.std[1], PRIOR.std[0].float())


@pytest.mark.parametrize("schedule", [VPLinear(), RectifiedFlow()], ids=["VP", "flow"])
def test_a_run_starts_from_the_variance_of_its_level(schedule) -> None:
    for t in STARTS:
        level = schedule.level(t)
        u = PRIOR.initial(20_000, level, Rng(3))
        assert u.shape == (40_000, 3)
        expected = level.alpha**2 + level.sigma**2
        assert u.mean().item() == pytest.approx(0, abs=0.02 * expected**0.5)
        assert u.var().item() == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("within", [0.0, 0.4])
def test_moments_of_modes_are_those_of_their_mixture(within: float) -> None:
    modes, raw = Rng(4).normal((5, 6, 3, 2), F64), Rng(5).uniform((5, 6, 3), F64)
    shares = raw / raw.sum(1, keepdim=True)
    found = GaussianPrior.of_modes(modes, shares, within=within)
    weights = shares[..., None].expand(5, 6, 3, 2).movedim(1, -1)
    normals = Normal(modes.movedim(1, -1), max(within, 1e-9))
    law = MixtureSameFamily(Categorical(weights), normals)
    torch.testing.assert_close(found.mean, law.mean)
    torch.testing.assert_close(found.std, law.variance.sqrt())


def test_modes_without_probabilities_count_alike_and_the_floor_holds() -> None:
    modes = Rng(4).normal((5, 6, 2), F64)
    found = GaussianPrior.of_modes(modes, floor=0.8)
    torch.testing.assert_close(found.mean, modes.mean(1))
    deviation = np.std(modes.numpy(), axis=1)
    assert (deviation < 0.8).any() and (deviation > 0.8).any()
    np.testing.assert_allclose(found.std.numpy(), np.maximum(deviation, 0.8))
    shared = torch.full((5, 6), 1 / 6, dtype=F64)
    torch.testing.assert_close(GaussianPrior.of_modes(modes, shared, floor=0.8).std, found.std)
    one = GaussianPrior.of_modes(modes[:, :1], within=torch.tensor([0.3, 0.5]))
    torch.testing.assert_close(one.std, torch.tensor([0.3, 0.5], dtype=F64).expand(5, 2))


WEIGHTS, MEANS, STDS = np.array([0.7, 0.3]), np.array([1.0, 4.0]), np.array([0.4, 0.8])
MU = float(WEIGHTS @ MEANS)
VAR = float(WEIGHTS @ (STDS**2 + MEANS**2)) - MU**2


GRID = np.linspace(-14, 18, 4001)


def divergence(mean: float, std: float, alpha: float, sigma: float) -> float:
    """KL from N(mean, std^2) of alpha x0 + sigma eps, eps of the mixture's variance."""
    stds = np.sqrt(alpha**2 * STDS**2 + sigma**2 * VAR)
    p = norm.pdf(GRID[:, None], alpha * MEANS, stds) @ WEIGHTS
    return float(simpson(xlogy(p, p) - p * norm.logpdf(GRID, mean, std), x=GRID))


@pytest.mark.parametrize("t", STARTS)
@pytest.mark.parametrize("schedule", [VPLinear(), RectifiedFlow()], ids=["VP", "flow"])
def test_matched_moments_are_the_closest_gaussian_at_every_level(schedule, t: float) -> None:
    """Least KL over mean and std, and with noise of the data's variance it is decoded N(0, 1)."""
    _, alpha, sigma = schedule.level(t)
    best = minimize(
        lambda p: divergence(p[0], math.exp(p[1]), alpha, sigma),
        [1.0, 0.5],
        method="Nelder-Mead",
        options={"xatol": 1e-7, "fatol": 1e-12},
    )
    scale = math.hypot(alpha, sigma)
    assert best.x[0] == pytest.approx(alpha * MU, abs=1e-5)
    assert math.exp(best.x[1]) == pytest.approx(math.sqrt(VAR) * scale, rel=1e-5)
    squared = math.sqrt(VAR * (alpha**2 + sigma**4))  # as some print it
    if 0.1 < alpha < 0.9:
        assert divergence(alpha * MU, squared, alpha, sigma) > best.fun + 5e-4


def law(sampler: Sampler, times: list[float], start: float) -> tuple[float, float]:
    """Mean and variance of a deterministic affine run from N(0, start)."""
    x = torch.tensor([[0.0], [1.0]], dtype=F64)
    low, high = sampler.sample(x, times, rng=Rng(0))[:, 0].tolist()
    return low, (high - low) ** 2 * start


@pytest.mark.parametrize("t", STARTS)
def test_for_gaussian_data_a_start_at_any_level_is_exact(t: float) -> None:
    """N(2, 0.3^2): exact as steps shrink; from sigma^2 alone, or from N(0, 1) in x, it is not."""
    prior = GaussianPrior(torch.tensor([[2.0]], dtype=F64), torch.tensor([[0.3]], dtype=F64))
    white = gaussian(torch.zeros(1, dtype=F64), 1.0).denoiser(VPLinear())
    level = VPLinear().level(t)
    matched = level.alpha**2 + level.sigma**2
    (mean, coarse), (_, fine) = (law(DDIM(white), uniform(n, t), matched) for n in (400, 800))
    u = torch.tensor([[mean]], dtype=F64)
    assert prior.decode(u).item() == pytest.approx(2.0, abs=1e-12)
    assert 0.09 * (2 * fine - coarse) == pytest.approx(0.09, rel=2e-4)
    _, noise = law(DDIM(white), uniform(800, t), level.sigma**2)
    assert noise == pytest.approx(level.sigma**2, rel=0.03)  # what Sampler.initial would give
    data = gaussian(torch.tensor([2.0], dtype=F64), torch.tensor(0.09, dtype=F64))
    plain, _ = law(DDIM(data.denoiser(VPLinear())), uniform(800, t), 1.0)
    assert abs(plain - 2.0) > {0.2: 0.7, 0.5: 0.1, 1.0: 1e-3}[t]


def test_for_a_mixture_the_error_of_a_start_is_its_mismatch() -> None:
    """The flow maps quantiles to quantiles; the mean error goes as the root of the KL at T."""
    std = math.sqrt(VAR)
    whitened = Mixture(
        torch.tensor(WEIGHTS),
        torch.tensor((MEANS - MU) / std)[:, None],
        torch.tensor((STDS / std) ** 2),
    )
    sampler = Heun(whitened.denoiser(VPLinear()))
    prior = GaussianPrior(torch.tensor([[MU]], dtype=F64), torch.tensor([[std]], dtype=F64))
    shares = (np.arange(100) + 0.5) / 100
    exact = [brentq(lambda x, s=s: WEIGHTS @ norm.cdf(x, MEANS, STDS) - s, -5, 12) for s in shares]
    start = torch.tensor(norm.ppf(shares))[:, None]
    for t, bound in {0.1: 0.4, 0.2: 0.2, 0.3: 0.06, 0.5: 0.005, 1.0: 0.005}.items():
        made = prior.decode(sampler.sample(start, uniform(100, t), rng=Rng(0)))[:, 0]
        error = np.abs(made.numpy() - exact).mean()
        _, alpha, sigma = VPLinear().level(t)
        mismatch = divergence(alpha * MU, std, alpha, sigma)
        assert error < bound
        if t <= 0.3:  # above, the steps themselves err by more
            assert 0.6 < error / math.sqrt(mismatch) < 0.8


def test_mistakes_are_said_in_words() -> None:
    zeros, ones = torch.zeros(2, 3), torch.ones(2, 3)
    with pytest.raises(ValueError, match=r"one shape \(R, ...\), got \(2, 3\) and \(3,\)"):
        GaussianPrior(zeros, torch.ones(3))
    with pytest.raises(ValueError, match=r"positive std, got a least one of -0\.5; give"):
        GaussianPrior(zeros, ones - torch.tensor([0.0, 1.5, 0.0]))
    with pytest.raises(ValueError, match="positive std, got a least one of nan"):
        GaussianPrior(zeros, ones * math.nan)
    with pytest.raises(ValueError, match="positive std, got a least one of 0"):
        GaussianPrior.of_modes(torch.ones(2, 6, 3))
    with pytest.raises(ValueError, match=r"with M at least 1, got \(2, 0, 3\)"):
        GaussianPrior.of_modes(torch.ones(2, 0, 3))
    for x in (torch.zeros(3, 3), torch.zeros(2, 4)):
        with pytest.raises(ValueError, match=r"a prior of shape \(2, 3\) serves samples"):
            GaussianPrior(zeros, ones).encode(x)
    modes = Rng(0).normal((2, 4, 3))
    for shares in (torch.ones(4), torch.ones(2, 3), torch.ones(2, 4, 1)):
        with pytest.raises(ValueError, match=r"first axes of the modes' shape \(2, 4, 3\)"):
            GaussianPrior.of_modes(modes, shares)
    for shares in (torch.ones(2, 4), torch.tensor([[-0.5, 0.5, 0.5, 0.5]]).expand(2, 4)):
        with pytest.raises(ValueError, match=r"sum to 1 over the modes \(axis 1\)"):
            GaussianPrior.of_modes(modes, shares)
