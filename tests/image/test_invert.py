"""Recovery against posteriors in closed form."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from domains.image.data.source import load_images
from domains.image.inverse_methods import METHODS, NotApplicable
from domains.image.inversion import Settings
from domains.image.invert import Recovery, recover
from domains.image.operators import OPERATORS, corrupt, operator_named
from domains.image.prior import KERNEL, Prior, exact_prior
from domains.image.recovery_scores import misfit, psnr, relative_l2, scores
from guided import VE, Rng
from guided.exact import gaussian

GREY = (1, 8, 8)
SMALL = Settings(steps=5, members=4, candidates=2, rollout=2)
LINEAR = ("inpainting", "box", "super-resolution", "gaussian-blur", "motion-blur")


@pytest.fixture(scope="module")
def digits():
    return load_images("digits")


@pytest.fixture(scope="module")
def prior(digits) -> Prior:
    return exact_prior(digits.train.x)


def bayes(kernels: np.ndarray, std: float, A: np.ndarray, y: np.ndarray, noise: float):
    """Return the posterior mean and the trace of its covariance under Gaussians about kernels."""
    square = std**2 * A @ A.T + noise**2 * np.eye(len(A))
    gaps = y - kernels @ A.T
    pulls = np.linalg.solve(square, gaps.T).T
    logs = -0.5 * (gaps * pulls).sum(1)
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    means = kernels + std**2 * pulls @ A
    mean = weights @ means
    within = std**2 * np.eye(A.shape[1]) - std**4 * A.T @ np.linalg.solve(square, A)
    return mean, np.trace(within) + weights @ ((means - mean) ** 2).sum(1)


@pytest.mark.parametrize("name", LINEAR)
def test_the_exact_method_draws_from_bayes_rule(name: str, digits, prior) -> None:
    measured = corrupt(operator_named(name, GREY), digits.test.x[:2], 0.2, seed=1)
    members = recover("exact", prior, measured, Settings(members=800)).members
    A = measured.degradation.matrix().numpy()
    kernels = digits.train.x.flatten(1).double().numpy()
    for row in range(2):
        y = measured.y[row].flatten().double().numpy()
        mean, trace = bayes(kernels, KERNEL, A, y, 0.2)
        drawn = members[row].flatten(1).double().numpy()
        error = ((drawn.mean(0) - mean) ** 2).sum()
        assert error < 3 * trace / 800  # what 800 draws leave, on average trace / 800
        assert abs(drawn.var(0).sum() / trace - 1) < 0.15


def test_fk_particles_reach_the_exact_posterior(digits) -> None:
    """It converges with the number of particles; here are enough for few components."""
    kernels = digits.train.x[:12]
    prior, degradation = exact_prior(kernels), operator_named("super-resolution:factor=4", GREY)
    measured = corrupt(degradation, digits.test.x[:2], 0.3)
    settings = Settings(steps=60, members=3000)
    members = recover("FK", prior, measured, settings).members
    for row in range(2):
        y = measured.y[row].flatten().double().numpy()
        A = measured.degradation.matrix().numpy()
        mean, trace = bayes(kernels.flatten(1).double().numpy(), KERNEL, A, y, 0.3)
        drawn = members[row].flatten(1).double().numpy()
        prior_gap = np.linalg.norm(kernels.flatten(1).mean(0).numpy() - mean)
        # Resampling leaves fewer ancestors than particles: a tenth of the way is left at most.
        assert np.linalg.norm(drawn.mean(0) - mean) < 0.1 * prior_gap
        assert abs(drawn.var(0).sum() / trace - 1) < 0.25


def test_tmpd_is_exact_for_a_gaussian_prior(digits) -> None:
    x0 = digits.train.x.double()
    cov = torch.cov(x0.flatten(1).mT) + 0.05 * torch.eye(64)
    law = gaussian(x0.mean(0), cov)
    prior = Prior(law.denoiser(VE(sigma_max=10.0)), GREY, law)
    measured = corrupt(operator_named("super-resolution", GREY), digits.test.x[:1].double(), 0.2)
    A = measured.degradation.matrix()
    posterior, _ = law.measured(A, measured.y.flatten(1), 0.2)
    exact, cov = posterior.mean()[0], posterior.cov()[0]
    missing = []
    for steps in (30, 60):
        settings = Settings(steps=steps, members=400)
        members = recover("TMPD", prior, measured, settings).members[0]
        error = (members.mean(0) - exact).square().sum()
        assert float(error) < 3 * float(cov.trace()) / 400
        missing.append(1 - float(members.flatten(1).var(0).sum() / cov.trace()))
    # What variance is missing are the steps' own errors, of first order: half of it goes.
    assert 0.35 < missing[1] / missing[0] < 0.75 and missing[1] < 0.15


def test_methods_go_towards_the_posterior_and_dps_and_enkg_keep_their_bias(digits, prior) -> None:
    degradation, truth = operator_named("gaussian-blur", GREY), digits.test.x[400:404]
    measured = corrupt(degradation, truth, 0.1)
    settings = Settings(steps=30, members=16, candidates=8)
    found = {m: recover(m, prior, measured, settings).members for m in METHODS if m != "TMPD"}
    exact = found["exact"].mean(1)
    gap = {m: float((x.mean(1) - exact).norm()) for m, x in found.items()}
    fits = {m: float(misfit(x, measured).mean()) for m, x in found.items()}
    for method in ("SCG", "FK", "EnKG", "DPS", "MPGD", "best-of-n"):
        assert gap[method] < gap["none"], method
        assert fits[method] < fits["none"], method
    assert fits["SCG"] < fits["best-of-n"]
    assert abs(fits["exact"] - 1) < 0.15  # as of the truth
    # The adaptive EnKG stops at the noise, and ends with less spread than the posterior.
    assert abs(fits["EnKG"] - 1) < 0.15
    assert float(found["EnKG"].var(1).mean()) < 0.6 * float(found["exact"].var(1).mean())
    # DPS uses the noise nowhere.
    other = degradation.operator(measured.y, 7.0)
    louder = type(measured)(degradation, other, truth, measured.y, 7.0)
    assert torch.equal(recover("DPS", prior, louder, settings).members, found["DPS"])


@pytest.mark.parametrize("method", METHODS)
def test_a_picture_is_recovered_alone_as_among_others(method: str, digits, prior) -> None:
    degradation, truth = operator_named("super-resolution", GREY), digits.test.x[:5]
    all_of_them = recover(method, prior, corrupt(degradation, truth, 0.1), SMALL)
    alone = corrupt(degradation, truth[3:4], 0.1, index=[3])
    one = recover(method, prior, alone, SMALL, index=[3])
    torch.testing.assert_close(one.members[0], all_of_them.members[3], atol=1e-3, rtol=1e-3)
    assert one.rows == all_of_them.rows


@pytest.mark.parametrize("name", OPERATORS)
def test_colour_of_another_size_goes_through_every_method(name: str) -> None:
    shape = (3, 8, 12)
    x0 = Rng(0).normal((6, *shape)).mul(0.5).tanh()
    prior, degradation = exact_prior(x0), operator_named(name, shape)
    measured = corrupt(degradation, x0[:2], 0.1)
    settings = Settings(steps=2, members=2, candidates=2, rollout=2)
    for method in METHODS:
        black_box = method in ("DPS", "MPGD", "TMPD") and not degradation.differentiable
        if black_box or (method in ("TMPD", "exact") and not degradation.linear):
            with pytest.raises(NotApplicable, match=r"needs a (differentiable|linear)"):
                recover(method, prior, measured, settings)
        else:
            found = recover(method, prior, measured, settings)
            assert found.members.shape == (2, found.members.shape[1], *shape)
            assert bool(found.members.isfinite().all())


def test_costs_are_what_the_methods_declare(digits, prior) -> None:
    measured = corrupt(operator_named("super-resolution", GREY), digits.test.x[:3], 0.1)
    settings = Settings(steps=5, members=8, candidates=4, rollout=1)
    cost = {m: recover(m, prior, measured, settings) for m in METHODS}
    counted = {m: (c.rows, c.simulations, c.members.shape[1]) for m, c in cost.items()}
    assert counted["none"] == (40, 0, 8)
    assert counted["best-of-n"] == (40, 8, 2)
    assert counted["SCG"] == (2 + 4 * 8, 4 * 8, 2)  # the step to data is free
    assert counted["FK"] == (40, 40, 8)
    assert counted["EnKG"] == (80, 40, 8)
    assert counted["DPS"] == counted["MPGD"] == (40, 40, 8)
    assert counted["exact"] == (0, 0, 8)
    assert [cost[m].vjps for m in ("none", "DPS", "MPGD", "TMPD")] == [0, 5, 0, 5 * 17]


def test_scores_are_their_formulas() -> None:
    truth = Rng(0).normal((3, 1, 4, 4), torch.float64).mul(0.4).tanh()
    measured = corrupt(operator_named("inpainting", (1, 4, 4)), truth, 0.3)
    noise = Rng(1).normal((3, 5, 1, 4, 4), torch.float64)
    members = truth[:, None] + 0.6 * noise
    cut = np.clip(members.mean(1).numpy(), -1, 1)
    error = ((cut - truth.numpy()) ** 2).mean((1, 2, 3))
    np.testing.assert_allclose(psnr(members.mean(1), truth), 20 * np.log10(2 / np.sqrt(error)))
    norm = np.sqrt((truth.numpy() ** 2).mean((1, 2, 3)))
    np.testing.assert_allclose(relative_l2(members.mean(1), truth), np.sqrt(error) / norm)
    assert torch.allclose(psnr(truth * 0 + 1, truth * 0 - 1), torch.zeros(3).double())
    mask = measured.degradation.mask.numpy()
    residual = members.numpy()[..., mask] - measured.y.numpy()[:, None]
    expected = np.sqrt((residual**2).mean((1, 2, 3))) / 0.3
    np.testing.assert_allclose(misfit(members, measured), expected)
    of_truth = misfit(truth[:, None], measured)
    drawn = (measured.y - measured.degradation(truth)).numpy() / 0.3
    np.testing.assert_allclose(of_truth.numpy(), np.sqrt((drawn**2).mean((1, 2))))
    broken = members.clone()
    broken[1, 0] = math.nan
    assert misfit(broken, measured).isinf().tolist() == [False, True, False]

    def judge(x: Tensor) -> Tensor:
        """Tell whether the mean is above 0."""
        bright = x.mean((1, 2, 3)) > 0
        return torch.stack([~bright, bright], 1).double()

    labels = torch.tensor([0, 1, 1])
    found = scores(Recovery(members, 0, 0, 0, 0.0), measured, labels, judge)
    bright = members.mean((2, 3, 4)) > 0
    expected_share = (bright == labels[:, None].bool()).double().mean(1).tolist()
    assert found["accuracy"] == pytest.approx(expected_share)
    spread = members.numpy().std(1)
    np.testing.assert_allclose(found["spread"], np.sqrt((spread**2).mean((1, 2, 3))), atol=1e-4)
    assert "accuracy" not in scores(Recovery(members, 0, 0, 0, 0.0), measured, labels)


def test_a_prior_of_other_pictures_is_refused(prior) -> None:
    x0 = torch.zeros(1, 1, 4, 4)
    with pytest.raises(ValueError, match=r"of pictures \(1, 8, 8\), got measurements of \(1, 4, 4"):
        recover("SCG", prior, corrupt(operator_named("box", (1, 4, 4)), x0), SMALL)


def test_a_mistake_of_a_type_is_no_method_that_does_not_apply(digits, prior, monkeypatch) -> None:
    def broken(given):
        yield given.start(1) + None

    monkeypatch.setitem(METHODS, "DPS", broken)
    measured = corrupt(operator_named("box", GREY), digits.test.x[:1], 0.1)
    with pytest.raises(TypeError, match="unsupported operand"):
        recover("DPS", prior, measured, SMALL)
