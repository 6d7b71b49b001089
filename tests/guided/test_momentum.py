"""Momentum against a denoiser that keeps the running sum itself, one call a step."""

import math
from itertools import pairwise

import pytest
import torch

from guided import CFG, DDIM, DDPM, Denoiser, DPMpp2M, FunctionEnergy, Heun, Prediction, Rng, State
from guided.guidance import (
    APG,
    SCG,
    SMC,
    Between,
    Contrast,
    FrequencyGuidance,
    Momentum,
    NextNoiseMean,
    Term,
    low_pass,
)
from guided.guidance.branches import null as null_branch
from guided.guidance.scale import interval
from guided.schedule import uniform
from tests.guided.pushes import COND, F64, VP, X, close, null, products

TIMES = uniform(6, start=0.95)
ENERGY = FunctionEnergy(lambda x0: (x0 - 1).square().flatten(1).sum(1))


class Remembering(Denoiser):
    """APG with momentum in plain torch: right for samplers of one evaluation a step."""

    def __init__(self, w, beta, eta, radius):
        super().__init__()
        self.schedule, self.w, self.beta, self.eta, self.radius = VP.schedule, w, beta, eta, radius
        self.m = 0.0

    def forward(self, x, level, cond=None):
        c, u = VP(x, level, cond), VP(x, level, null(cond))
        self.m = c.x0 - u.x0 + self.beta * self.m
        rms = self.m.square().mean((1, 2), keepdim=True).sqrt()
        delta = self.m * (self.radius / rms).clamp(max=1)
        along = (products(delta, c.x0) / products(c.x0, c.x0))[:, None, None] * c.x0
        x0 = c.x0 + (self.w - 1) * (delta - (1 - self.eta) * along)
        return Prediction(x0, (x - level.alpha * x0) / level.sigma)


def run(sampler, cond=COND, times=TIMES):
    return sampler.sample(X, times, cond, rng=Rng(range(5)))


SAMPLERS = {"DDIM": DDIM, "DDPM": DDPM, "2M": DPMpp2M, "2M-1": lambda d: DPMpp2M(d, eta=1.0)}


@pytest.mark.parametrize("beta", [-0.75, 0.5])
@pytest.mark.parametrize("make", SAMPLERS.values(), ids=SAMPLERS.keys())
def test_a_run_is_that_of_a_denoiser_that_remembers(make, beta):
    apg = APG(VP, 3.0, null, 0.2, 0.3)
    apg.looked = True
    expected = run(make(Remembering(3.0, beta, 0.2, 0.3)))
    found = run(Momentum(make(apg), beta))
    close(found, expected)
    assert not torch.allclose(found, run(make(apg)), atol=1e-3)


def test_without_projection_and_cap_it_is_that_of_cfg():
    expected = run(DDIM(Remembering(3.0, -0.5, 1.0, math.inf)))
    close(run(Momentum(DDIM(CFG(VP, 3.0, null)), -0.5)), expected)


def test_the_running_sum_is_that_of_the_differences():
    method = Momentum(DDIM(CFG(VP, 3.0, null)), 0.5)
    x, expected = X, 0.0
    for state, t in zip(method.iterate(X, TIMES, COND, rng=Rng(0)), TIMES, strict=False):
        level = VP.schedule.level(t)
        expected = VP(x, level, COND).x0 - VP(x, level, null(COND)).x0 + 0.5 * expected
        (m,) = state.memory.deltas
        close(m, expected)
        x = state.x


def test_a_run_starts_anew():
    method = Momentum(DDIM(CFG(VP, 3.0, null)), -0.5)
    assert torch.equal(run(method), run(method))


def test_beta_zero_is_the_sampler_with_its_memory():
    plain = DPMpp2M(CFG(VP, 2.0, null))
    runs = (s.iterate(X, TIMES, COND, rng=Rng(0)) for s in (plain, Momentum(plain, 0.0)))
    for a, b in zip(*runs, strict=True):
        assert torch.equal(a.x, b.x) and torch.equal(a.memory.x0, b.memory.x0)


def test_the_second_evaluation_of_heun_has_the_plain_difference():
    """One step by hand: momentum at t, plain CFG at s."""
    cfg, beta = CFG(VP, 3.0, null), -0.5
    method = Momentum(Heun(cfg), beta)
    q, t, s = (VP.schedule.level(time) for time in (0.9, 0.7, 0.5))
    first = method.step(State(X), q, t, COND, Rng(0))
    x = first.x
    before = VP(X, q, COND).x0 - VP(X, q, null(COND)).x0
    x0 = cfg(x, t, COND).x0 + 2 * beta * before
    here = (x - t.alpha * x0) / t.sigma
    euler = s.alpha * x0 + s.sigma * here
    slope = (here + cfg(euler, s, COND).eps) / 2
    expected = s.alpha * (x / t.alpha + (s.noise_to_signal - t.noise_to_signal) * slope)
    close(method.step(first, t, s, COND, Rng(0)).x, expected)


def test_resampled_particles_take_their_sums_along():
    method = Momentum(DPMpp2M(CFG(VP, 3.0, null)), -0.5)
    q, t, s = (VP.schedule.level(time) for time in (0.9, 0.7, 0.5))
    index = torch.tensor([3, 0, 0, 4, 1])
    state = method.step(State(X), q, t, COND, Rng(0))
    plain = method.step(state, t, s, COND, Rng(0)).x
    taken = method.step(state.take(index), t, s, COND[index], Rng(0)).x
    close(taken, plain[index])
    alone = method.step(State(state.x), t, s, COND, Rng(0)).x
    assert not torch.allclose(alone, plain, atol=1e-3)


def test_methods_around_it_see_its_steps():
    """With a flat energy no particle is lost, and the move of NextNoiseMean is 0."""
    flat = FunctionEnergy(lambda x0: 0 * x0.flatten(1).sum(1))
    method = Momentum(DDPM(CFG(VP, 3.0, null)), -0.5)
    same = DDPM(Remembering(3.0, -0.5, 1.0, math.inf))
    found, expected = (
        SMC(sampler, flat, particles=5, share=0.0).sample(X, TIMES, COND, rng=Rng(3))
        for sampler in (method, same)
    )
    close(found, expected)
    close(run(NextNoiseMean(method, flat, scale=1.0)), run(method))


def test_next_noise_mean_looks_at_the_mean_with_momentum():
    seen = []
    energy = FunctionEnergy(lambda x0: seen.append(x0.detach()) or 0 * x0.flatten(1).sum(1))
    method = Momentum(DPMpp2M(CFG(VP, 3.0, null)), -0.5)
    states = [s.x for s in NextNoiseMean(method, energy).iterate(X, TIMES, COND, rng=Rng(0))]
    for mean, x in zip(seen, states, strict=True):
        close(mean, x)


def test_outside_an_interval_it_forgets():
    method = Momentum(DPMpp2M(CFG(VP, 3.0, null)), -0.5)
    whole = Between(method, low=0.0, high=math.inf)
    close(run(whole), run(method))
    high = VP.schedule.level(0.5).noise_to_signal
    expected = X
    memory = None
    plain = DPMpp2M(CFG(VP, 3.0, null))
    levels = VP.schedule.levels(TIMES)
    for t, s in pairwise(levels):
        sampler = method if t.noise_to_signal <= high else plain
        state = sampler.step(State(expected, memory=memory), t, s, COND, Rng(0))
        expected, memory = state.x, state.memory
    close(run(Between(method, high=high)), expected)


def test_a_term_that_is_neutral_for_a_while_begins_anew():
    low = VP.schedule.level(0.5).noise_to_signal
    terms = [Term(null_branch(null), 2.0), Term(null_branch(null), interval(3.0, high=low))]
    method = Momentum(DDIM(Contrast(VP, terms)), -0.5)
    memories = [s.memory.deltas for s in method.iterate(X, TIMES, COND, rng=Rng(0))]
    for t, deltas in zip(TIMES, memories, strict=False):
        assert deltas[0] is not None
        assert (deltas[1] is None) == (t > 0.5)
    first = next(i for i, t in enumerate(TIMES) if t <= 0.5)
    assert not torch.allclose(memories[first][0], memories[first][1])


def test_every_band_keeps_its_own():
    bands = low_pass(1.0, (1,))
    method = Momentum(DDIM(FrequencyGuidance(VP, (3.0, 3.0), null, bands)), -0.5)
    close(run(method), run(Momentum(DDIM(CFG(VP, 3.0, null)), -0.5)), 1e-9)


def test_a_gradient_passes_through_two_steps():
    method = Momentum(DDIM(CFG(VP, 3.0, null)), -0.5)
    x = X.clone().requires_grad_()
    out = method.sample(x, uniform(2, start=0.9), COND, rng=Rng(0), grad=True)
    (slope,) = torch.autograd.grad(out.sum(), x)
    step = torch.zeros_like(X)
    step[0, 0, 0] = 1e-6
    up, down = (
        method.sample(X + h, uniform(2, start=0.9), COND, rng=Rng(0)).sum() for h in (step, -step)
    )
    assert slope[0, 0, 0].item() == pytest.approx(((up - down) / 2e-6).item(), rel=1e-5)
    assert slope.dtype == F64


def test_what_is_refused():
    with pytest.raises(TypeError, match=r"of the differences of a Contrast, got .* ExactDenoiser"):
        Momentum(DDIM(VP), 0.5)
    with pytest.raises(TypeError, match="wraps a plain sampler, got SCG; put other"):
        Momentum(SCG(DDPM(CFG(VP, 2.0, null)), ENERGY), 0.5)
    with pytest.raises(TypeError, match="wraps a Sampler, got CFG"):
        Momentum(CFG(VP, 2.0, null), 0.5)
    for beta in (1.0, -1.0, math.nan):
        with pytest.raises(ValueError, match=r"needs a beta in \(-1, 1\), 0 for none, got"):
            Momentum(DDIM(CFG(VP, 2.0, null)), beta)
    with pytest.raises(
        ValueError, match=r"SCG draws from the kernel .* what Momentum does in a st"
    ):
        SCG(Momentum(DDPM(CFG(VP, 2.0, null)), 0.5), ENERGY, candidates=2)
    neutral = SCG(Momentum(DDPM(CFG(VP, 2.0, null)), 0.0), ENERGY, candidates=2)
    assert torch.equal(run(neutral), run(SCG(DDPM(CFG(VP, 2.0, null)), ENERGY, candidates=2)))
