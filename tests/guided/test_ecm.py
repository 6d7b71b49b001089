"""Moves of the clean estimate: bounded, per sample, without a gradient through the network."""

import itertools
import math

import pytest
import torch

from guided import (
    DDIM,
    SCG,
    Between,
    Decoded,
    Denoiser,
    DenoiserWrapper,
    DPMpp2M,
    FunctionEnergy,
    Level,
    Prediction,
    RectifiedFlow,
    Rng,
    State,
    VPLinear,
)
from guided.exact import Mixture
from guided.guidance import ECM, ECMR, MPGD, NextNoiseMean, ScoreFunction
from guided.operator import Likelihood
from guided.schedule import uniform
from tests.guided.registry import ENERGY, MEAN
from tests.guided.toy import Toy

F64 = torch.float64
TIMES = uniform(8, start=0.95)
QUARTIC = FunctionEnergy(lambda x: ((x - 2) ** 4 + 3 * x.roll(1, 1) * x).flatten(1).sum(1))
LEVEL = VPLinear().level(0.5)


def quartic_slope(x: torch.Tensor) -> torch.Tensor:
    return 4 * (x - 2) ** 3 + 3 * (x.roll(1, 1) + x.roll(-1, 1))


def test_a_run_is_the_algorithm_written_out() -> None:
    toy, x = Toy(VPLinear()), Rng(0).normal((5, 4), F64)
    found = DDIM(ECM(toy, QUARTIC, scale=0.03, clip=0.2)).sample(x, TIMES, rng=Rng(0))
    levels = VPLinear().levels(TIMES)
    bound = 0
    for t, s in itertools.pairwise(levels):
        x0, eps = toy(x, t)
        move = 0.03 * quartic_slope(x0)
        bound += (move.abs() > 0.2).sum().item()
        x = s.alpha * (x0 - torch.clip(move, -0.2, 0.2)) + s.sigma * eps
    assert 10 < bound < 5 * 4 * 8 - 10
    torch.testing.assert_close(found, x, rtol=1e-12, atol=1e-12)


def test_an_infinite_clip_is_mpgd() -> None:
    x = Rng(0).normal((5, 4), F64)
    runs = [
        DDIM(method).sample(x, TIMES, rng=Rng(0))
        for method in (
            MPGD(Toy(VPLinear()), QUARTIC, 0.02),
            ECM(Toy(VPLinear()), QUARTIC, 0.02, clip=math.inf),
            ECM(Toy(VPLinear()), QUARTIC, 0.02, clip=0.1),
        )
    ]
    assert torch.equal(runs[0], runs[1])
    assert not torch.allclose(runs[0], runs[2])


@pytest.mark.parametrize("steepness", [1.0, 1e30, 1e308, math.inf])
def test_no_entry_moves_further_than_the_clip(steepness: float) -> None:
    """In units of y, so by clip / spread in u; an infinite gradient moves by the clip."""
    energy = FunctionEnergy(lambda x: (steepness * x[:, :2]).sum(1) + 1e-3 * x[:, 2])
    x = Rng(0).normal((6, 3), F64)
    plain = Toy(VPLinear())(x, LEVEL)
    guided = ECM(Toy(VPLinear()), energy, scale=4.0, clip=0.3, spread=2.0)(x, LEVEL)
    moved = plain.x0 - guided.x0
    torch.testing.assert_close(moved[:, :2], torch.full_like(moved[:, :2], 0.15))
    torch.testing.assert_close(moved[:, 2], torch.full_like(moved[:, 2], 1e-3))
    assert torch.equal(guided.eps, plain.eps)


def test_a_sample_is_the_same_alone_as_among_64() -> None:
    x = Rng(3).normal((64, 3, 2), F64)
    references = Rng(4).normal((1, 2, 3, 2), F64)
    toy = Toy(VPLinear())
    for method in (
        DDIM(ECM(toy, QUARTIC, 0.05)),
        DDIM(ECMR(toy, QUARTIC, references, 0.05)),
        DDIM(ScoreFunction(toy, QUARTIC, 0.05)),
        NextNoiseMean(DDIM(toy), QUARTIC, 0.01),
    ):
        runs = [method.sample(x[:n], TIMES, rng=Rng(0)) for n in (1, 4, 64)]
        torch.testing.assert_close(runs[0], runs[2][:1], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(runs[1], runs[2][:4], rtol=1e-12, atol=1e-12)


CENTRE = torch.tensor([3.0, -1.0, 0.5], dtype=F64)
SPREAD = torch.tensor([2.0, 0.4, 5.0], dtype=F64)


class Stretched(DenoiserWrapper):
    """The same model in y = CENTRE + SPREAD u, whose noise has the deviation SPREAD."""

    def forward(self, x, level, cond=None) -> Prediction:
        u0, eps = self.denoiser((x - level.alpha * CENTRE) / SPREAD, level, cond)
        return Prediction(CENTRE + SPREAD * u0, SPREAD * eps)


def test_spread_keeps_scale_and_clip_in_the_coordinates_of_the_energy() -> None:
    inner = Toy(VPLinear())
    in_u = Decoded(QUARTIC, lambda u: CENTRE + SPREAD * u)
    u = Rng(0).normal((6, 3), F64)
    start = VPLinear().level(TIMES[0]).alpha * CENTRE + SPREAD * u
    y = DDIM(ECM(Stretched(inner), QUARTIC, 0.02, clip=0.5)).sample(start, TIMES, rng=Rng(0))
    sampler = DDIM(ECM(inner, in_u, 0.02, clip=0.5, spread=SPREAD))
    found = CENTRE + SPREAD * sampler.sample(u, TIMES, rng=Rng(0))
    torch.testing.assert_close(found, y, rtol=1e-10, atol=1e-10)
    without = DDIM(ECM(inner, in_u, 0.02, clip=0.5)).sample(u, TIMES, rng=Rng(0))
    assert not torch.allclose(CENTRE + SPREAD * without, y, atol=0.1)


class Guarded(Toy):
    """A network whose gradient nobody may ask for."""

    def forward(self, x, level, cond=None) -> Prediction:
        if torch.is_grad_enabled() and x.requires_grad:
            raise AssertionError("a gradient through the network")
        return super().forward(x, level, cond)


def test_no_gradient_passes_through_the_network() -> None:
    guarded = Guarded(VPLinear())
    x, references = Rng(0).normal((4, 3), F64), torch.ones(1, 1, 3, dtype=F64)
    for sampler in (
        DDIM(MPGD(guarded, ENERGY, 0.1)),
        DDIM(ECM(guarded, ENERGY)),
        DDIM(ECMR(guarded, ENERGY, references)),
        NextNoiseMean(DDIM(guarded), ENERGY, 0.1),
    ):
        assert sampler.sample(x, TIMES, rng=Rng(0), grad=True).isfinite().all()
    with pytest.raises(AssertionError, match="through the network"):
        DDIM(ScoreFunction(guarded, ENERGY)).sample(x, TIMES, rng=Rng(0))


def test_the_last_prediction_can_be_left_alone() -> None:
    """As the docstring says; every other step is guided."""
    toy, x = Toy(VPLinear()), Rng(0).normal((4, 3), F64)
    levels = VPLinear().levels(TIMES)
    method = ECM(toy, ENERGY, 0.3)
    sampler = DDIM(Between(method, low=levels[-2].noise_to_signal))
    states = list(sampler.iterate(x, TIMES, rng=Rng(0)))
    guided = list(DDIM(method).iterate(x, TIMES, rng=Rng(0)))
    assert all(torch.equal(a.x, b.x) for a, b in zip(states[:-1], guided[:-1], strict=True))
    assert torch.equal(states[-1].x, toy(states[-2].x, levels[-2]).x0)
    assert not torch.allclose(states[-1].x, guided[-1].x)


def test_mpgd_projects_what_it_has_moved() -> None:
    """On a plane, as principal components do; at scale 0 nothing is projected."""
    basis = torch.linalg.qr(Rng(1).normal((4, 2), F64)).Q
    toy, x = Toy(VPLinear()), Rng(0).normal((5, 4), F64)
    found = MPGD(toy, ENERGY, 0.2, project=lambda x0: x0 @ basis @ basis.mT)(x, LEVEL).x0
    moved = toy(x, LEVEL).x0
    moved = moved - 0.2 * 2 * (moved - 1)
    torch.testing.assert_close(found @ basis, moved @ basis)
    assert (found - found @ basis @ basis.mT).abs().max() < 1e-12
    neutral = MPGD(toy, ENERGY, 0.0, project=torch.zeros_like)(x, LEVEL)
    assert torch.equal(neutral.x0, toy(x, LEVEL).x0)


def test_the_energy_is_told_the_condition_and_may_be_an_operator() -> None:
    toy, x = Toy(VPLinear()), Rng(0).normal((4, 3), F64)
    wanted = torch.tensor([0.2, 0.4, 0.6, 0.8], dtype=F64)

    class Conditional(type(ENERGY)):
        def __call__(self, x0, cond=None):
            return (x0 - 2 * cond[:, None]).square().sum(1)

    energy = Conditional(lambda x0: x0)
    x0, eps = toy(x, LEVEL, wanted)
    ahead = LEVEL._replace(alpha=0.9, sigma=0.3)
    mean = 0.9 * x0 + 0.3 * eps
    state = NextNoiseMean(DDIM(toy), energy, 0.1).step(State(x), LEVEL, ahead, wanted, Rng(0))
    torch.testing.assert_close(state.x, mean - 0.2 * (mean - 2 * wanted[:, None]))
    torch.testing.assert_close(state.energy, energy(mean, wanted))
    moved = MPGD(toy, energy, 0.1)(x, LEVEL, wanted).x0
    torch.testing.assert_close(moved, x0 - 0.2 * (x0 - 2 * wanted[:, None]))
    for make in (MPGD, ECM, ScoreFunction):
        assert torch.equal(make(toy, MEAN)(x, LEVEL).x0, make(toy, Likelihood(MEAN))(x, LEVEL).x0)


@pytest.mark.parametrize("make", [lambda d: DPMpp2M(d, eta=1.0), lambda d: DDIM(d, eta=1.0)])
def test_next_noise_mean_moves_the_mean_and_adds_the_same_noise(make) -> None:
    sampler = make(Toy(VPLinear()))
    levels = VPLinear().levels(TIMES)
    x = Rng(0).normal((4, 3), F64)
    state = sampler.step(State(x), *levels[:2], None, Rng(1))
    kernel = sampler.kernel(sampler.predict(state, levels[1]), *levels[1:3], state.memory)
    noise = Rng(2).normal((4, 3), F64)
    move = torch.clip(0.3 * quartic_slope(kernel.mean), -0.5, 0.5)
    found = NextNoiseMean(sampler, QUARTIC, 0.3, clip=0.5).step(state, *levels[1:3], None, Rng(2))
    torch.testing.assert_close(found.x, kernel.mean - move + kernel.std * noise)
    assert found.prediction is None


def test_the_score_function_is_the_gradient_by_finite_differences() -> None:
    """On a mixture, whose denoiser is curved; the pair stays consistent, and the clip holds."""
    means = torch.tensor([[-1.5, 0.0], [1.5, 0.5]], dtype=F64)
    mixture = Mixture(torch.tensor([0.7, 0.3]), means, torch.tensor([0.2, 0.4], dtype=F64))
    denoiser = mixture.denoiser(VPLinear())
    x, h = Rng(0).normal((6, 2), F64), 1e-5
    columns = []
    for i in range(2):
        e = h * torch.eye(2, dtype=F64)[i]
        up, down = (QUARTIC(denoiser(x + sign * e, LEVEL).x0) for sign in (1, -1))
        columns.append((up - down) / (2 * h))
    slope = 0.2 * torch.stack(columns, 1)
    plain = denoiser(x, LEVEL)
    for clip in (math.inf, slope.abs().median().item()):
        found = ScoreFunction(denoiser, QUARTIC, 0.2, clip)(x, LEVEL)
        push = slope.clip(-clip, clip)
        torch.testing.assert_close(found.eps, plain.eps + LEVEL.sigma * push, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(LEVEL.alpha * found.x0 + LEVEL.sigma * found.eps, x)


BLACK_BOX = FunctionEnergy(lambda x0: x0.flatten(1).sum(1), differentiable=False)
MAKES = {
    "MPGD": lambda d, e, **k: MPGD(d, e, **k),
    "ECM": lambda d, e, **k: ECM(d, e, **k),
    "ECMR": lambda d, e, **k: ECMR(d, e, torch.zeros(1, 1, 3), **k),
    "ScoreFunction": lambda d, e, **k: ScoreFunction(d, e, **k),
    "NextNoiseMean": lambda d, e, **k: NextNoiseMean(DDIM(d), e, **k),
}


@pytest.mark.parametrize("name", MAKES)
def test_mistakes_are_said_in_words(name: str) -> None:
    toy: Denoiser = Toy(VPLinear())
    with pytest.raises(TypeError, match=f"{name} needs a differentiable energy"):
        MAKES[name](toy, BLACK_BOX)
    if name != "MPGD":
        for clip in (0.0, -1.0, math.nan):
            with pytest.raises(ValueError, match=f"{name} needs a positive clip, got {clip}"):
                MAKES[name](toy, ENERGY, clip=clip)
    if name in ("ECM", "ECMR"):
        for spread in (0.0, torch.tensor([1.0, -2.0]), math.nan):
            with pytest.raises(ValueError, match=f"{name} needs a spread of positive lengths"):
                MAKES[name](toy, ENERGY, spread=spread)


def test_the_score_function_is_not_defined_where_x_says_nothing() -> None:
    with pytest.raises(ValueError, match="not defined at alpha = 0"):
        ScoreFunction(Toy(RectifiedFlow()), ENERGY)(torch.zeros(1, 2), Level(1.0, 0.0, 1.0))


def test_a_moved_sample_does_not_carry_the_prediction_of_another_one() -> None:
    """Around SCG, whose state holds the prediction at its winner."""
    toy = Toy(VPLinear())
    levels = VPLinear().levels(TIMES)
    sampler = NextNoiseMean(SCG(DDIM(toy, eta=1.0), ENERGY, candidates=3), ENERGY, 0.1)
    state = sampler.step(State(Rng(0).normal((4, 3), F64)), *levels[:2], None, Rng(1))
    assert state.prediction is None
