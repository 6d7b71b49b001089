"""Predictor and corrector: CFG taken apart, by the exact laws of runs that are affine in noise."""

import math

import pytest
import torch

from guided import CFG, DDIM, DDPM, VE, DPMpp2M, RectifiedFlow, Rng, State, VPLinear
from guided.denoiser import Denoiser
from guided.guidance import PredictorCorrector
from guided.sampler import Sampler
from guided.schedule import log_snr
from tests.guided.toy import Toy, null
from tests.guided.two_laws import F64, Always, TwoGaussians, dropped

START = 80.0


class Probes(Rng):
    """Row 0 has no noise; row k the unit as its k-th noise, and zeros else (row 1: the start)."""

    def __init__(self, rows: int) -> None:
        super().__init__(0)
        self.rows, self.drawn = rows, 1

    def normal(self, shape, dtype=torch.float32, device=None) -> torch.Tensor:
        self.drawn += 1
        noise = torch.zeros(*shape, dtype=dtype)
        noise[self.drawn] = 1
        return noise


def variance(sampler: Sampler, times: list[float], draws: int) -> float:
    """The variance of x0 on the line: a run is affine in x_T and in every number it draws."""
    x = torch.zeros(draws + 2, 1, dtype=F64)
    x[1] = START
    end = sampler.sample(x, times, rng=Probes(draws + 2))[:, 0]
    return (end[1:] - end[0]).square().sum().item()


def laws() -> Denoiser:
    """p(x|c) = N(0, 1) and p(x) = N(0, 2)."""
    return TwoGaussians(VE(), (0.0, 0.0), (1.0, 2.0))


def guided(w: float) -> Denoiser:
    return Always(CFG(laws(), w, dropped))


def grid(steps: int, least: float = 0.02) -> list[float]:
    return log_snr(VE(), steps, least, START)


@pytest.mark.parametrize("w", [1.0, 2.0, 3.0])
def test_cfg_is_a_conditional_step_and_a_correction_with_twice_the_push(w: float) -> None:
    """DDIM(cond) + 1 Langevin step with 2 w - 1 tends to DDPM(CFG(w)), which has a closed form."""
    exact = (2 - 2 ** (2 - 2 * w)) / (2 * w - 1)
    n = 800
    found, unmatched = (
        variance(PredictorCorrector(DDIM(Always(laws())), guided(w2)), grid(n), n - 1)
        for w2 in (2 * w - 1, 1.3 * w)
    )
    ancestral = variance(DDPM(guided(w)), grid(n), n)
    assert found == pytest.approx(exact, rel=2e-3)
    assert ancestral == pytest.approx(exact, rel=2e-2)
    assert abs(unmatched - exact) > 0.02 * exact


def test_three_methods_of_one_name_have_three_variances() -> None:
    """2^(1 - w), (2 - 2^(2 - 2 w)) / (2 w - 1), and 2 / (w + 1), which needs many corrections."""
    w, n = 3.0, 400
    flow = variance(DDIM(guided(w)), grid(n), 0)
    sde = variance(DDPM(guided(w)), grid(n), n)
    many = PredictorCorrector(DDIM(Always(laws())), guided(w), steps=40, step_size=0.1)
    few = grid(24, least=0.02)
    powered = variance(many, few, 40 * 23)
    assert flow == pytest.approx(0.25, rel=0.03)
    assert sde == pytest.approx(0.3875, rel=0.03)
    assert powered == pytest.approx(0.5, rel=0.06)


@pytest.mark.parametrize("steps", [1, 40])
def test_a_corrector_of_the_same_law_keeps_it(steps: int) -> None:
    short = PredictorCorrector(DDIM(Always(laws())), guided(1.0), steps, step_size=0.02)
    n = 100
    found = variance(short, grid(n), steps * (n - 1))
    assert found == pytest.approx(1.0, rel=0.06)


@pytest.mark.parametrize("schedule", [VPLinear(), RectifiedFlow(), VE()])
def test_a_step_is_its_formula(schedule) -> None:
    toy, cond = Toy(schedule), torch.linspace(0, 1, 4, dtype=F64)
    x = Rng(0).normal((4, 3), F64)
    t, s = schedule.level(0.5), schedule.level(0.45)
    corrector = CFG(toy, 3.0, null)
    found = PredictorCorrector(DDIM(toy), corrector, 2).step(State(x), t, s, cond, Rng(5))
    rng, expected = Rng(5), DDIM(toy).step(State(x), t, s, cond, Rng(0)).x
    delta = t.sigma**2 - (t.alpha / s.alpha * s.sigma) ** 2
    for _ in range(2):
        x0 = corrector(expected, s, cond).x0
        score = (s.alpha * x0 - expected) / s.sigma**2
        noise = rng.normal((4, 3), F64)
        expected = expected + 0.5 * delta * score + math.sqrt(delta) * noise
    torch.testing.assert_close(found.x, expected)
    assert found.prediction is None


def test_the_memory_of_a_multistep_sampler_is_kept() -> None:
    toy, x = Toy(VPLinear()), Rng(0).normal((4, 3))
    t, s = VPLinear().levels([0.5, 0.4])
    inner = DPMpp2M(toy)
    found = PredictorCorrector(inner, toy).step(State(x), t, s, None, Rng(0))
    assert torch.equal(found.memory.x0, inner.step(State(x), t, s, None, Rng(0)).memory.x0)


def test_mistakes_are_refused() -> None:
    toy = Toy(VPLinear())
    with pytest.raises(TypeError, match="corrects with a Denoiser, got DDIM"):
        PredictorCorrector(DDIM(toy), DDIM(toy))
    with pytest.raises(ValueError, match="both must mean the same noise"):
        PredictorCorrector(DDIM(toy), Toy(VE()))
    with pytest.raises(ValueError, match="takes 0 or more corrections, got -1"):
        PredictorCorrector(DDIM(toy), toy, -1)
    for size in (0.0, -1.0, math.nan, "large"):
        with pytest.raises(ValueError, match="the step size is 'matched' or a positive number"):
            PredictorCorrector(DDIM(toy), toy, 1, size)


def test_a_matched_step_that_diverges_is_warned_of() -> None:
    sampler = PredictorCorrector(DDIM(Toy(VPLinear())), Toy(VPLinear()))
    x = Rng(0).normal((2, 3))
    with pytest.warns(UserWarning, match=r"diverges \(4 is the limit\)"):
        sampler.sample(x, [0.9, 0.05, 0.0], torch.ones(2), rng=Rng(0))
