"""Samplers against closed forms: order of convergence, moments, both variances."""

import math
from typing import Any

import pytest
import torch

from guided import DDIM, DDPM, VE, Cosine, DPMpp2M, Heun, Level, RectifiedFlow, Rng, VPLinear
from guided.denoiser import DenoiserWrapper, Prediction
from guided.exact import gaussian
from guided.sampler import State
from guided.schedule import Schedule, from_dict, karras, log_snr, uniform
from tests.guided.laws import extrapolated, law_of_samples
from tests.guided.toy import Toy

SCHEDULES = [VPLinear(), Cosine(), VE(), RectifiedFlow()]
MEAN, VAR = 0.5, 0.09


def exact_flow(x: torch.Tensor, t: Level, s: Level) -> torch.Tensor:
    """The probability flow of N(MEAN, VAR) in closed form."""
    spread = math.sqrt((s.alpha**2 * VAR + s.sigma**2) / (t.alpha**2 * VAR + t.sigma**2))
    return s.alpha * MEAN + spread * (x - t.alpha * MEAN)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("sampler", [DDIM, Heun, DPMpp2M])
def test_declared_order_is_the_measured_one(sampler, schedule: Schedule) -> None:
    start, stop = schedule.time(5.0), schedule.time(0.05)
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None] * schedule.level(start).sigma
    errors = []
    for steps in (32, 64, 128):
        times = [stop + (start - stop) * (steps - i) / steps for i in range(steps + 1)]
        found = sampler(Toy(schedule)).sample(x, times, rng=Rng(0))
        ends = schedule.level(times[0]), schedule.level(times[-1])
        errors.append((found - exact_flow(x, *ends)).abs().max().item())
    slope = math.log2(errors[1] / errors[2])
    assert abs(slope - sampler.order) < 0.25, (errors, slope)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize(
    "make",
    [DDIM, lambda d: DDIM(d, eta=0.5), DDPM, Heun, DPMpp2M],
    ids=["DDIM", "eta0.5", "DDPM", "Heun", "DPMpp2M"],
)
def test_mean_and_variance_converge_to_the_data(make, schedule: Schedule) -> None:
    """At the declared order: Richardson's extrapolation of two runs hits the data's law."""
    sampler = make(Toy(schedule))
    grids = [log_snr(schedule, n, sigma_min=1e-3, sigma_max=100.0) for n in (400, 800)]
    mean, var = extrapolated(sampler, *grids)
    assert mean == pytest.approx(MEAN, rel=5e-3)
    assert var == pytest.approx(VAR, rel=5e-3)
    _, finite = law_of_samples(sampler, grids[1])
    assert finite == pytest.approx(VAR, rel=0.03 if sampler.order == 1 else 5e-3)


def test_samples_have_the_computed_law() -> None:
    """The draws themselves, against the affine recursion above (3 standard errors)."""
    sampler = DDPM(Toy(VPLinear()))
    times = uniform(40)
    mean, variance = law_of_samples(sampler, times)
    x = sampler.sample(
        sampler.initial((40_000, 1), times, Rng(3), torch.float64), times, rng=Rng(4)
    )
    assert x.mean().item() == pytest.approx(mean, abs=3 * math.sqrt(variance / 40_000))
    assert x.var().item() == pytest.approx(variance, rel=3 * math.sqrt(2 / 40_000))


def test_ddpm_kernel_is_the_exact_posterior_of_the_forward_chain() -> None:
    """q(x_s | x_t, x_0) by Bayes' rule on the forward chain, for both variances."""
    schedule = VPLinear()
    t, s = schedule.level(0.6), schedule.level(0.5)
    x0, eps = torch.tensor([[0.3]]).double(), torch.tensor([[-0.7]]).double()
    x = t.alpha * x0 + t.sigma * eps
    beta = t.sigma**2 - (t.alpha / s.alpha) ** 2 * s.sigma**2
    precision = 1 / s.sigma**2 + (t.alpha / s.alpha) ** 2 / beta
    mean = (s.alpha * x0 / s.sigma**2 + (t.alpha / s.alpha) * x / beta) / precision
    for variance, expected in (("posterior", 1 / precision), ("fixed_large", beta)):
        kernel = DDPM(Toy(schedule), variance).kernel(Prediction(x0, eps), t, s)
        torch.testing.assert_close(kernel.mean, mean)
        assert kernel.std**2 == pytest.approx(expected, rel=1e-12)


def test_fixed_large_adds_no_noise_to_the_step_to_data() -> None:
    schedule = VPLinear()
    sampler = DDPM(Toy(schedule), "fixed_large")
    one = torch.ones(1, 1)
    kernel = sampler.kernel(Prediction(one, one), schedule.level(0.1), schedule.level(0.0))
    assert kernel.std == 0
    assert torch.equal(kernel.mean, one)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_time_inverts_the_schedule(schedule: Schedule) -> None:
    for t in (1e-3, 0.1, 0.5, 0.9, 0.999):
        assert schedule.time(schedule.level(t).noise_to_signal) == pytest.approx(t, rel=1e-9)
    assert schedule.level(0.0)[1:] == (1.0, 0.0)
    assert from_dict(schedule.to_dict()) == schedule


def test_vp_linear_matches_its_integral() -> None:
    """alpha = exp(-1/2 integral of beta), by quadrature."""
    t = torch.linspace(0, 0.7, 100_001, dtype=torch.float64)
    integral = torch.trapezoid(0.1 + t * 19.9, t).item()
    alpha, sigma = VPLinear()(0.7)
    assert alpha == pytest.approx(math.exp(-0.5 * integral), rel=1e-9)
    assert alpha**2 + sigma**2 == pytest.approx(1, rel=1e-12)


def test_karras_grid_is_the_formula_of_edm() -> None:
    schedule = VE()
    ratios = [schedule.level(t).sigma for t in karras(schedule, 18)]
    low, top = 0.002 ** (1 / 7), 80 ** (1 / 7)
    expected = [(top + i / 17 * (low - top)) ** 7 for i in range(18)] + [0.0]
    assert ratios == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("times", [[0.5], [0.2, 0.5], [1.2, 0.0], [0.5, 0.5, 0.0], [0.5, -0.1]])
def test_bad_time_grids_are_refused(times: list[float]) -> None:
    with pytest.raises(ValueError, match="strictly decreasing"):
        DDIM(Toy(VPLinear())).sample(torch.zeros(1, 1), times, rng=Rng(0))


def test_bad_parameters_are_refused() -> None:
    toy = Toy(VPLinear())
    with pytest.raises(ValueError, match=r"got 1\.5"):
        DDIM(toy, eta=1.5)
    with pytest.raises(TypeError, match="samples from a Denoiser, got DDIM"):
        DDIM(DDIM(toy))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 1 step"):
        uniform(0)


def test_the_variance_of_the_stochastic_multistep_solver_is_of_second_order() -> None:
    """That of ancestral sampling is of first order: too small by a fifth after 48 steps."""
    law, schedule = gaussian(torch.zeros(1).double(), 0.25), VPLinear()
    found: dict[type, list[float]] = {}
    for steps in (24, 48):
        times = karras(schedule, steps, 0.01, 100.0)
        for sampler in (DDPM(law.denoiser(schedule)), DPMpp2M(law.denoiser(schedule), eta=1.0)):
            x = sampler.initial((100_000, 1), times, Rng(0), torch.float64)
            variance = float(sampler.sample(x, times, rng=Rng(1)).var())
            found.setdefault(type(sampler), []).append(abs(variance / 0.25 - 1))
    assert found[DDIM][1] > 0.15
    assert 1.4 < found[DDIM][0] / found[DDIM][1] < 2.5
    assert found[DPMpp2M][1] < 0.05
    assert found[DPMpp2M][0] / found[DPMpp2M][1] > 3


class Shifted(DenoiserWrapper):
    """Moves the clean estimate by one and keeps eps, as methods do that optimise x0."""

    def forward(self, x: torch.Tensor, level: Level, cond: Any = None) -> Prediction:
        found = self.denoiser(x, level, cond)
        return Prediction(found.x0 + 1, found.eps)


def test_heun_follows_a_clean_estimate_that_was_moved_alone() -> None:
    """Its first half is DDIM's step with the moved estimate, its second the bend of the flow."""
    toy, (t, s) = Toy(VPLinear()), VPLinear().levels([0.7, 0.4])
    x = torch.linspace(-2, 2, 5, dtype=torch.float64)[:, None]
    found = Heun(Shifted(toy)).step(State(x), t, s, None, Rng(0)).x
    here = toy(x, t)
    euler = s.alpha * (here.x0 + 1) + s.sigma * here.eps
    bend = toy(euler, s).eps - here.eps
    expected = euler + 0.5 * s.alpha * (s.sigma / s.alpha - t.sigma / t.alpha) * bend
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rho": 0.0}, "rho of a time grid is positive, got 0.0"),
        ({"rho": -1.0}, "rho of a time grid is positive"),
        ({"sigma_min": 20.0, "sigma_max": 10.0}, "sigma_min=20.0 and sigma_max=10.0"),
        ({"sigma_min": 0.0}, "both positive"),
    ],
)
def test_bad_grids_are_refused(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        karras(VE(), 5, **options)
