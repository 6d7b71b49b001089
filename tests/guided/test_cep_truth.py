"""What CEP learns, and what guidance by it and by its rivals samples, against closed forms."""

import pytest
import torch

from guided import ClassifierGuidance, DPMpp2M, Rng, VPLinear
from guided.bench.rivals import MeanEnergy, PointEnergy
from guided.bench.tilts import (
    GAUSSIAN,
    LINE,
    PLANE,
    Still,
    field_error,
    fitted_line,
    moments,
    training,
    untrained,
)
from guided.energy import gradient
from guided.guidance import CEP
from guided.schedule import Cosine, log_snr, uniform
from guided.train import TrainConfig

F64 = torch.float64
TIMES = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8)


# The rivals


@pytest.mark.parametrize("tilt", [LINE, PLANE])
def test_closed_forms_are_expectations_over_the_posterior(tilt) -> None:
    level = VPLinear().level(0.25)
    x = tilt.prior.noised(level).sample(3, Rng(0))
    energies = tilt.energy(tilt.prior.conditional(x, level).sample(200_000, Rng(1))).reshape(3, -1)
    mean = MeanEnergy(tilt.prior, tilt.energy)(x, level)
    torch.testing.assert_close(mean, energies.mean(1), rtol=0.01, atol=0)
    exact = -(-energies).exp().mean(1).log()
    torch.testing.assert_close(tilt.exact()(x, level), exact, rtol=0.01, atol=0)
    point = PointEnergy(tilt.prior, tilt.energy)(x, level)
    assert (point < mean).all() and (exact < mean).all()  # Jensen, twice


def test_on_a_gaussian_both_rivals_have_one_slope_that_is_too_steep() -> None:
    level, x = VPLinear().level(0.3), Rng(0).normal((7, 1), F64)
    mean, point = (
        -gradient(lambda y, kind=kind: kind(GAUSSIAN.prior, GAUSSIAN.energy)(y, level), x)[1]
        for kind in (MeanEnergy, PointEnergy)
    )
    torch.testing.assert_close(mean, point)
    posterior_variance = level.sigma**2  # of a prior of variance 1 on VPLinear
    torch.testing.assert_close(GAUSSIAN.guidance(x, level) * (1 + 4 * posterior_variance), mean)


# Samples: prior N(0, 1), E = 2 (x - 1.5)^2, so that the target is N(1.2, 0.2)


@pytest.mark.parametrize("grid", [uniform(200), log_snr(VPLinear(), 200)])
def test_exact_guidance_samples_the_target_and_rivals_do_not(grid) -> None:
    assert GAUSSIAN.target.mean().item() == pytest.approx(1.2)
    assert GAUSSIAN.target.cov().item() == pytest.approx(0.2)
    mean, variance = moments(GAUSSIAN, GAUSSIAN.exact(), grid, 65)
    assert mean == pytest.approx(1.2, rel=0.01)
    assert variance == pytest.approx(0.2, rel=0.03)
    for rival in (MeanEnergy, PointEnergy):
        mean, variance = moments(GAUSSIAN, rival(GAUSSIAN.prior, GAUSSIAN.energy), grid, 65)
        assert mean == pytest.approx(1.915, abs=0.01)
        assert variance == pytest.approx(0.0184, abs=2e-4)


@pytest.mark.parametrize(
    ("steps", "by_time", "by_log_snr"), [(15, 0.158, 0.211), (30, 0.192, 0.203)]
)
def test_few_steps_cost_variance_and_less_so_in_log_snr(steps, by_time, by_log_snr) -> None:
    for grid, expected in ((uniform(steps), by_time), (log_snr(VPLinear(), steps), by_log_snr)):
        mean, variance = moments(GAUSSIAN, GAUSSIAN.exact(), grid, 65)
        assert mean == pytest.approx(1.2, rel=0.01)
        assert variance == pytest.approx(expected, abs=1e-3)


def test_moments_are_those_of_random_samples() -> None:
    """The instrument itself, where the law is no Gaussian (4 standard errors)."""
    n, times = 20_000, log_snr(VPLinear(), 30)
    sampler = DPMpp2M(ClassifierGuidance(LINE.prior.denoiser(VPLinear()), LINE.exact()))
    x = sampler.sample(sampler.initial((n, 1), times, Rng(0), F64), times, rng=Rng(0))
    mean, variance = moments(LINE, LINE.exact(), times, 1025)
    kurtosis = ((x - x.mean()) ** 4).mean().item() / variance**2
    assert x.mean().item() == pytest.approx(mean, abs=4 * (variance / n) ** 0.5)
    assert x.var().item() == pytest.approx(variance, rel=4 * ((kurtosis - 1) / n) ** 0.5)


# The contrasts


def test_the_raw_contrast_finds_the_line_of_two_samples_and_the_self_normalised_does_not() -> None:
    edges, level = torch.tensor([[0.0], [1.0]], dtype=F64), VPLinear().level(0.4)
    low, high = GAUSSIAN.guidance(edges, level)[:, 0].tolist()
    assert (high - low, low) == pytest.approx((-0.185, 0.629), abs=1e-3)
    # Of one such fit, the standard errors are about 0.01 and 0.005.
    slope, intercept = fitted_line("raw", 2, 0.4, 2**18, 0)
    assert slope == pytest.approx(high - low, abs=0.04)
    assert intercept == pytest.approx(low, abs=0.02)
    slope, intercept = fitted_line("self", 2, 0.4, 2**18, 0)
    assert slope == pytest.approx(-0.051, abs=0.03)
    assert intercept == pytest.approx(0.518, abs=0.02)


@pytest.mark.parametrize("target", ["self", "raw"])
def test_a_contrast_of_many_samples_finds_the_line(target: str) -> None:
    slope, intercept = fitted_line(target, 64, 0.4, 2**18, 0)
    assert slope == pytest.approx(-0.185, abs=0.012)
    assert intercept == pytest.approx(0.629, abs=0.012)


def test_a_still_schedule_stands_at_one_time() -> None:
    still, t = Still(VPLinear(), 0.4), torch.tensor([0.0, 0.4, 1.0], dtype=F64)
    for found, expected in zip(still(t), VPLinear()(0.4), strict=True):
        torch.testing.assert_close(found, torch.full((3,), expected, dtype=F64))


# Learned fields


def trained(tilt, target: str, steps: int, batch: int = 128):
    config = TrainConfig(
        steps=steps, batch=batch, lr=1e-2, warmup=50, weight_decay=0.0, ema=0.998, log_every=steps
    )
    model = untrained(tilt, Cosine(), 0)
    for _ in training(model, tilt, target, config, 16):
        pass
    return model


def errors(tilt, energy) -> list[float]:
    return [field_error(tilt, energy, Cosine().level(t), 8192, 1) for t in TIMES]


def test_the_error_of_a_field_is_0_for_the_exact_one_and_1_for_none() -> None:
    class Flat:
        differentiable = True

        def __call__(self, x, level, cond=None):
            return 0 * x.sum(1)

    assert errors(PLANE, PLANE.exact()) == pytest.approx([0] * 6, abs=1e-9)
    assert errors(PLANE, Flat()) == pytest.approx([1] * 6)


def test_a_short_training_already_beats_the_best_regression() -> None:
    learned, best = (
        errors(LINE, energy)
        for energy in (trained(LINE, "raw", 250), MeanEnergy(LINE.prior, LINE.energy))
    )
    assert max(learned) < 0.2
    assert max(best) > 0.5
    assert learned[3] < 0.1 < 0.3 < best[3]


@pytest.mark.slow
@pytest.mark.parametrize(("tilt", "steps", "batch"), [(LINE, 2500, 128), (PLANE, 4000, 512)])
def test_the_learned_field_is_the_exact_one_at_every_level(tilt, steps, batch) -> None:
    assert max(errors(tilt, trained(tilt, "raw", steps, batch))) < 0.05


@pytest.mark.slow
def test_learned_guidance_samples_the_target() -> None:
    """Mean within 0.03 standard deviations and variance within 3 %, of 40,000 samples."""
    model, times = trained(LINE, "raw", 2500), log_snr(Cosine(), 60)
    sampler = DPMpp2M(CEP(LINE.prior.denoiser(Cosine()), model))
    x = sampler.sample(sampler.initial((40_000, 1), times, Rng(0)), times, rng=Rng(0))
    mean, variance = LINE.target.mean().item(), LINE.target.cov().item()
    assert x.mean().item() == pytest.approx(mean, abs=0.03 * variance**0.5)
    assert x.var().item() == pytest.approx(variance, rel=0.03)
