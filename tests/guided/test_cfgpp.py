"""CFG++: the scale of CFG that a step amounts to, its limits, and the samplers it runs under."""

import math

import pytest
import torch

from guided import CFG, DDIM, VE, Counted, DPMpp2M, Heun, RectifiedFlow, Rng, State, VPLinear
from guided.denoiser import Denoiser, Prediction
from guided.guidance import Between, CFGpp
from guided.nets.control import Control, Skip, Stacked
from guided.schedule import uniform
from tests.guided.toy import Toy, null

F64 = torch.float64
TIMES = uniform(6, start=0.99)
X = Rng(0).normal((6, 3), F64)
COND = torch.linspace(0.1, 0.9, 6, dtype=F64)


@pytest.mark.parametrize("schedule", [VPLinear(), VE(), RectifiedFlow()])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("scale", [0.1, 0.6, 1.0])
def test_a_step_is_one_of_cfg_with_a_scale_that_depends_on_its_length(schedule, eta, scale) -> None:
    toy = Toy(schedule)
    for t, s in ((0.99, 0.5), (0.5, 0.45), (0.3, 0.01), (0.2, 0.0)):
        t, s = schedule.level(t), schedule.level(s)
        forward = t.sigma**2 - (t.alpha / s.alpha) ** 2 * s.sigma**2
        d = math.sqrt(s.sigma**2 - (eta * s.sigma / t.sigma) ** 2 * forward)
        w = scale * s.alpha * t.sigma / (s.alpha * t.sigma - d * t.alpha)
        found = DDIM(CFGpp(toy, scale, null), eta).step(State(X), t, s, COND, Rng(7)).x
        plain = DDIM(CFG(toy, w, null), eta).step(State(X), t, s, COND, Rng(7)).x
        torch.testing.assert_close(found, plain, rtol=1e-13, atol=1e-13)


def test_ratios_that_fall_by_a_constant_factor_are_one_scale_of_cfg() -> None:
    """w = lambda / (1 - q) in all steps but the last, where it is lambda."""
    ratios = [8.0 * 0.5**i for i in range(7)]
    times = [VE().time(r) for r in ratios]
    found = DDIM(CFGpp(Toy(VE()), 0.3, null)).sample(X, times, COND, rng=Rng(0))
    expected = DDIM(CFG(Toy(VE()), 0.6, null)).sample(X, times, COND, rng=Rng(0))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_the_pair_is_the_guided_estimate_and_the_unconditional_noise() -> None:
    toy, level = Toy(VPLinear()), VPLinear().level(0.6)
    strong, weak = toy(X, level, COND), toy(X, level, null(COND))
    scales = torch.tensor([0.2, 0.9, 0.0], dtype=F64)
    per_row = scales.repeat_interleave(2)[:, None]
    found = CFGpp(toy, scales, null)(X, level, COND)
    torch.testing.assert_close(found.x0, (1 - per_row) * weak.x0 + per_row * strong.x0)
    assert torch.equal(found.eps, weak.eps)
    falling = CFGpp(toy, lambda level: 0.5 * level.sigma, null)(X, level, COND)
    torch.testing.assert_close(falling.x0, weak.x0 + 0.5 * level.sigma * (strong.x0 - weak.x0))


@pytest.mark.parametrize("sampler", [DDIM, lambda d: DDIM(d, eta=1.0), DPMpp2M, Heun])
def test_equal_branches_and_scale_zero_are_plain_runs(sampler) -> None:
    toy = Toy(VPLinear())
    same = sampler(CFGpp(toy, 0.7, lambda cond: cond)).sample(X, TIMES, COND, rng=Rng(1))
    assert torch.equal(same, sampler(toy).sample(X, TIMES, COND, rng=Rng(1)))
    counted = Counted(toy)
    none = sampler(CFGpp(counted, 0.0, null)).sample(X, TIMES, COND, rng=Rng(1))
    assert torch.equal(none, sampler(toy).sample(X, TIMES, null(COND), rng=Rng(1)))
    assert counted.rows == len(X) * counted.calls


def test_one_step_to_data_is_the_conditional_estimate() -> None:
    toy, level = Toy(VPLinear()), VPLinear().level(0.8)
    found = DDIM(CFGpp(toy, 1.0, null)).sample(X, [0.8, 0.0], COND, rng=Rng(0))
    torch.testing.assert_close(found, toy(X, level, COND).x0, rtol=1e-14, atol=1e-14)


def test_guidance_grows_without_bound_with_the_number_of_steps() -> None:
    """CFG with scale w moves the mean of the toy to 0.5 + 0.4 w; here w grows as N, or is fixed."""
    cond, x = torch.full((1,), 0.9, dtype=F64), torch.zeros(1, 1, dtype=F64)

    def pushed(scale: float, steps: int) -> float:
        run = DDIM(CFGpp(Toy(VPLinear()), scale, null)).sample
        return (run(x, uniform(steps), cond, rng=Rng(0)) - 0.5).item() / 0.4

    fixed = [pushed(0.5, n) for n in (40, 80, 160)]
    assert fixed[1] / fixed[0] == pytest.approx(2, rel=0.2)
    assert fixed[2] / fixed[1] == pytest.approx(2, rel=0.1)
    shared = [pushed(20 / n, n) for n in (40, 80, 160)]
    assert shared[2] == pytest.approx(shared[1], rel=0.1)


def test_the_multistep_solver_extrapolates_the_guided_estimate() -> None:
    """Its step in the symbols of its own docstring, but for the noise, which is unconditional."""
    toy, scale = Toy(VPLinear()), 0.4
    r, t, s = VPLinear().levels([0.8, 0.6, 0.4])
    sampler = DPMpp2M(CFGpp(toy, scale, null))
    first = sampler.step(State(X), r, t, COND, Rng(0))
    found = sampler.step(first, t, s, COND, Rng(0)).x

    def parts(x, level):
        strong, weak = toy(x, level, COND), toy(x, level, null(COND))
        return weak.x0 + scale * (strong.x0 - weak.x0), weak.eps

    (before, _), (here, eps) = parts(X, r), parts(first.x, t)
    log_snr = [math.log(a.alpha / a.sigma) for a in (r, t, s)]
    half = (log_snr[2] - log_snr[1]) / (2 * (log_snr[1] - log_snr[0]))
    bend = (s.alpha - s.sigma / t.sigma * t.alpha) * half * (here - before)
    torch.testing.assert_close(found, s.alpha * here + s.sigma * eps + bend)


def test_heun_adds_the_bend_of_the_unconditional_flow() -> None:
    toy, (t, s) = Toy(VPLinear()), VPLinear().levels([0.7, 0.4])
    guided = CFGpp(toy, 0.4, null)
    euler = DDIM(guided).step(State(X), t, s, COND, Rng(0)).x
    bend = toy(euler, s, null(COND)).eps - toy(X, t, null(COND)).eps
    half = 0.5 * s.alpha * (s.sigma / s.alpha - t.sigma / t.alpha)
    found = Heun(guided).step(State(X), t, s, COND, Rng(0)).x
    torch.testing.assert_close(found, euler + half * bend)


def test_outside_an_interval_it_is_the_conditional_model() -> None:
    toy, level = Toy(VPLinear()), VPLinear().level(0.6)
    off = Between(CFGpp(toy, 0.5, null), 0.0, 0.9 * level.noise_to_signal)(X, level, COND)
    assert torch.equal(off.x0, toy(X, level, COND).x0)


class Deep(Denoiser):
    """Records the controls it is given, as a network with two blocks would."""

    layers = 2

    def __init__(self) -> None:
        super().__init__()
        self.schedule, self.given = VPLinear(), []

    def controlled(self, x, level, cond, control) -> Prediction:
        self.given.append(control)
        return Toy(self.schedule)(x, level, cond)


def test_controls_reach_both_branches() -> None:
    deep, control = Deep(), Control(skip=Skip(frozenset({1})))
    guided = CFGpp(deep, 0.5, null)
    guided.controlled(X, VPLinear().level(0.5), COND, control)
    assert guided.layers == 2
    assert deep.given == [Stacked((control,), (2 * len(X),))]  # equal neighbours are one part


@pytest.mark.parametrize("scale", [-0.1, 1.5, 7.5, torch.tensor([0.5, 2.0])])
def test_a_scale_that_is_no_share_is_refused(scale) -> None:
    with pytest.raises(ValueError, match=r"CFGpp interpolates, with a scale in \[0, 1\], got"):
        CFGpp(Toy(VPLinear()), scale, null)


@pytest.mark.parametrize("share", [-0.1, 1.5, math.nan])
def test_a_function_that_gives_no_share_is_refused_in_the_call(share) -> None:
    guided = CFGpp(Toy(VPLinear()), lambda level: share, null)
    with pytest.raises(ValueError, match=r"CFGpp interpolates, with a scale in \[0, 1\], got"):
        guided(X, VPLinear().level(0.5), COND)


def test_other_mistakes_are_refused() -> None:
    with pytest.raises(ValueError, match="CFGpp needs a finite scale"):
        CFGpp(Toy(VPLinear()), math.nan, null)
    with pytest.raises(TypeError, match="CFGpp wraps a Denoiser, got DDIM"):
        CFGpp(DDIM(Toy(VPLinear())), 0.5, null)
