"""Weights of particles, the SMC along steps, Waltz moves and tempered SMC, against closed forms."""

import math
from collections import Counter
from typing import Any

import pytest
import torch

from guided import (
    DDIM,
    Counted,
    DPMpp2M,
    FunctionEnergy,
    Level,
    Operator,
    Prediction,
    Rng,
    VPLinear,
)
from guided.exact import Mixture, QuadraticEnergy
from guided.guidance import SMC, KalmanWaltz, TemperedSMC, Waltz
from guided.guidance.particles import (
    along_main_axis,
    bennett,
    effective_size,
    next_temperature,
    systematic,
)
from guided.schedule import karras, uniform
from tests.guided.toy import Toy

PRIOR = Mixture(
    torch.tensor([0.3, 0.7]).double(),
    torch.tensor([[-1.0, 0.5], [1.0, -0.5]]).double(),
    torch.tensor([0.2, 0.4]).double(),
)
ENERGY = QuadraticEnergy(torch.tensor([2.0, 0.5]).double(), torch.tensor([0.6, 0.8]).double())
TARGET, LOG_Z = PRIOR.tilted(ENERGY)
BLACK_BOX = FunctionEnergy(ENERGY, differentiable=False)
SCHEDULE = VPLinear()


def sampler() -> DPMpp2M:
    return DPMpp2M(PRIOR.denoiser(SCHEDULE), eta=1.0)


def grid(steps: int = 40) -> list[float]:
    return karras(SCHEDULE, steps, 0.01, 60.0)


# Weights


def test_effective_size_counts() -> None:
    log_weights = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, -math.inf, 0.0, -math.inf]])
    torch.testing.assert_close(effective_size(log_weights), torch.tensor([4.0, 2.0]))


def test_systematic_resampling_keeps_shares_within_one() -> None:
    log_weights = 2 * Rng(0).normal((7, 50), torch.float64)
    log_weights[3, 10:] = -math.inf
    chosen = systematic(log_weights, Rng(1)).reshape(7, 50)
    for row in range(7):
        counts = torch.bincount(chosen[row] - 50 * row, minlength=50)
        assert (counts - 50 * log_weights[row].softmax(0)).abs().max() < 1
    lost = systematic(torch.full((2, 5), -math.inf), Rng(0))
    assert torch.equal(lost, torch.arange(10))


def test_systematic_resampling_is_unbiased() -> None:
    weights = torch.tensor([0.5, 0.23, 0.17, 0.1]).double()
    counts = sum(
        torch.bincount(systematic(weights.log()[None], Rng(seed)), minlength=4)
        for seed in range(2000)
    )
    torch.testing.assert_close(counts.double() / 8000, weights, rtol=0, atol=0.008)


def test_resampling_along_the_main_axis_keeps_the_shares_of_modes() -> None:
    """Of two modes far apart; in an order by chance their shares would be as noisy as counts."""
    x = torch.cat([Rng(0).normal((500, 3), torch.float64)] * 2)
    x[500:, 1] += 20
    x = x[torch.randperm(1000, generator=torch.Generator().manual_seed(0))]
    far = x[:, 1] > 10
    weights = -x[:, 0].square()[None]
    share = float(weights.softmax(1)[0, far].sum())
    order = along_main_axis(x)
    assert far[order].long().diff().abs().sum() == 1  # all of one, then all of the other
    for seed in range(5):
        chosen = order[systematic(weights[:, order], Rng(seed), 200)]
        assert abs(float(far[chosen].double().mean()) - share) <= 1 / 200 + 1e-9
    assert torch.equal(along_main_axis(torch.ones(4, 2)), torch.arange(4))


def test_the_next_temperature_keeps_the_share() -> None:
    energy = 30 * Rng(0).uniform((1, 1000), torch.float64)
    energy[0, :100] = math.inf
    beta = next_temperature(energy, 0.0, 0.5)
    assert 0 < beta < 1
    size = effective_size(-beta * energy)
    torch.testing.assert_close(size, torch.tensor([450.0]).double(), rtol=1e-6, atol=0)
    assert next_temperature(energy / 1000, 0.2, 0.5) == 1.0


def test_bennetts_ratio_is_right_where_a_plain_average_is_not() -> None:
    """Energies x^2 / 2 under N(0, 100) and its tilt, where exp(-E) has a heavy tail."""
    x = 10 * Rng(0).normal((20_000,), torch.float64)
    variance = 1 / (1 / 100 + 1)
    y = math.sqrt(variance) * Rng(1).normal((20_000,), torch.float64)
    exact = 0.5 * math.log(variance / 100)
    found = bennett(y.square() / 2, x.square() / 2, 1.0)
    assert abs(found - exact) < 0.02


# Along the steps


@pytest.mark.parametrize("potential", ["difference", "max", "sum"])
@pytest.mark.parametrize("temper", [False, True])
def test_smc_samples_the_tilted_law(potential: str, temper: bool) -> None:
    """Mean, covariance and evidence, over 16 independent populations."""
    count, requests = 1024, 16
    every = 1 if potential == "difference" else 13
    method = SMC(sampler(), BLACK_BOX, count, potential, every, temper=temper)
    rng = Rng(0)
    x = method.initial((requests * count, 2), grid(), rng, torch.float64)
    *_, state = method.iterate(x, grid(), rng=rng)
    groups = state.x.unflatten(0, (requests, count))
    mean = groups.mean(1)
    error = mean.std(0) / math.sqrt(requests)
    assert (mean.mean(0) - TARGET.mean()).abs().le(4 * error + 0.01).all()
    covariance = torch.cov(state.x.mT)
    torch.testing.assert_close(covariance, TARGET.cov(), rtol=0, atol=0.03)
    evidence = state.memory.log_z.exp()
    spread = float(evidence.std()) / math.sqrt(requests)
    assert abs(float(evidence.mean() - LOG_Z.exp())) < 4 * spread + 0.01 * float(LOG_Z.exp())


def test_the_error_of_smc_falls_as_one_over_the_root_of_the_particles() -> None:
    errors = []
    for count in (64, 1024):
        method = SMC(sampler(), BLACK_BOX, count)
        rng = Rng(3)
        x = method.initial((24 * count, 2), grid(25), rng, torch.float64)
        *_, state = method.iterate(x, grid(25), rng=rng)
        mean = state.x.unflatten(0, (24, count)).mean(1)
        errors.append((mean - TARGET.mean()).square().mean().sqrt().item())
        errors.append((state.memory.log_z - LOG_Z).square().mean().sqrt().item())
    for few, many in (errors[::2], errors[1::2]):
        assert 2.2 < few / many < 7  # 4 ideally, from 24 populations each


def test_requests_of_smc_are_independent_and_cost_what_is_declared() -> None:
    counted = Counted(PRIOR.denoiser(SCHEDULE))
    method = SMC(DDIM(counted, eta=1.0), BLACK_BOX, 8)
    x = Rng(0).normal((24, 2), torch.float64)
    seeds = [5, 6, 7]
    together = method.sample(x, uniform(10, 0.9), rng=Rng(seeds))
    assert (counted.calls, counted.rows) == (10, 240)
    for i, seed in enumerate(seeds):
        alone = method.sample(x[8 * i : 8 * i + 8], uniform(10, 0.9), rng=Rng([seed]))
        assert torch.equal(alone, together[8 * i : 8 * i + 8])


def test_particles_without_a_finite_energy_are_lost() -> None:
    energy = FunctionEnergy(
        lambda x: torch.where(x[:, 0] > 0, torch.nan, 0.0), differentiable=False
    )
    method = SMC(sampler(), energy, 512)
    rng = Rng(0)
    x = method.initial((512, 2), grid(), rng, torch.float64)
    *_, state = method.iterate(x, grid(), rng=rng)
    assert (state.x[:, 0] <= 0).all()
    inside = (PRIOR.sample(100_000, Rng(1))[:, 0] <= 0).double().mean()
    assert abs(float(state.memory.log_z) - math.log(inside)) < 0.25


def test_smc_refuses_bad_input() -> None:
    with pytest.raises(ValueError, match="deterministic DDIM"):
        SMC(DDIM(PRIOR.denoiser(SCHEDULE)), BLACK_BOX, 4)
    with pytest.raises(ValueError, match="got 4, 1 and 2"):
        SMC(sampler(), BLACK_BOX, 4, share=2)
    with pytest.raises(ValueError, match="no groups of 4"):
        SMC(sampler(), BLACK_BOX, 4).sample(torch.zeros(6, 2).double(), grid(), rng=Rng(0))


# Over finished samples


@pytest.mark.parametrize("start", ["prior", "point"])
def test_moves_lead_from_anywhere_to_the_tilted_law(start: str) -> None:
    x = PRIOR.sample(4000, Rng(0))
    if start == "point":
        x = torch.tensor([[-1.5, 2.0]]).double().repeat(4000, 1)
    x = Waltz(sampler(), BLACK_BOX, steps=25).sample(x, 40, rng=Rng(1))
    torch.testing.assert_close(x.mean(0), TARGET.mean(), rtol=0, atol=0.05)
    torch.testing.assert_close(torch.cov(x.mT), TARGET.cov(), rtol=0, atol=0.05)
    weights = PRIOR.responsibilities(x).mean(0)
    exact = PRIOR.responsibilities(TARGET.sample(50_000, Rng(2))).mean(0)
    torch.testing.assert_close(weights, exact, rtol=0, atol=0.03)


def test_without_an_energy_moves_keep_the_prior() -> None:
    nothing = FunctionEnergy(lambda x: torch.zeros(len(x)))
    x = Waltz(sampler(), nothing).sample(PRIOR.sample(4000, Rng(0)), 20, rng=Rng(1))
    torch.testing.assert_close(x.mean(0), PRIOR.mean(), rtol=0, atol=0.06)
    torch.testing.assert_close(torch.cov(x.mT), PRIOR.cov(), rtol=0, atol=0.07)


def test_the_noise_of_moves_finds_its_acceptance() -> None:
    *_, chain = Waltz(sampler(), BLACK_BOX, steps=15, target=0.5).iterate(
        PRIOR.sample(500, Rng(0)), 40, rng=Rng(1)
    )
    assert 0.3 < chain.accepted.double().mean() < 0.7


def test_tempering_finds_the_law_and_its_evidence() -> None:
    sharp = QuadraticEnergy(torch.tensor([400.0, 60.0]).double(), torch.tensor([0.6, 0.8]).double())
    target, log_z = PRIOR.tilted(sharp)
    moves = Waltz(sampler(), FunctionEnergy(sharp, differentiable=False))
    method = TemperedSMC(moves, 1024, sweeps=80)
    rng = Rng(0)
    x = moves.sampler.initial((8192, 2), grid(), rng, torch.float64)
    populations = list(method.iterate(x, grid(), rng=rng))
    last = populations[-1]
    assert (last.sweeps, last.beta) == (80, 1.0)
    betas = [p.beta for p in populations]
    assert betas == sorted(betas) and len(set(betas)) > 3
    assert abs(last.log_z - float(log_z)) < 0.1
    x0 = last.chain.x0
    deviation = target.cov().diagonal().sqrt()
    assert ((x0.mean(0) - target.mean()).abs() < 0.15 * deviation).all()
    ratio = torch.cov(x0.mT).diagonal() / target.cov().diagonal()
    assert ((ratio - 1).abs() < 0.15).all()


def test_a_budget_that_is_too_small_ends_at_the_posterior_with_a_warning() -> None:
    sharp = FunctionEnergy(lambda x: 1e4 * x.square().sum(1), differentiable=False)
    method = TemperedSMC(Waltz(sampler(), sharp, steps=5), 64, sweeps=5, moves=2)
    x = Rng(0).normal((64, 2), torch.float64)
    with pytest.warns(RuntimeWarning, match=r"ended at beta = .* give more sweeps"):
        population = method.sample(x, grid(5), rng=Rng(0))
    assert (population.beta, population.sweeps) == (1.0, 5)
    assert population.effective < 32


def test_the_end_of_a_budget_gives_temperatures_fewer_moves() -> None:
    sharp = FunctionEnergy(lambda x: 1e3 * x.square().sum(1), differentiable=False)
    method = TemperedSMC(Waltz(sampler(), sharp, steps=5), 64, sweeps=30, moves=8)
    x = Rng(0).normal((64, 2), torch.float64)
    moves = Counter(p.beta for p in method.iterate(x, grid(5), rng=Rng(0)) if 0 < p.beta < 1)
    left = 29
    for spent in moves.values():
        assert spent == min(8, max(1, left // 4))
        left -= spent
    assert spent == 1 and left < 8


def test_a_condition_is_that_of_all_starts_however_many() -> None:
    """A tree of K rows, with more starts than that, and for the halves of an ensemble."""
    cond = {"class": (torch.full((8,), 0.5),)}

    class Told(Toy):
        def forward(self, x: torch.Tensor, level: Level, cond: Any = None) -> Prediction:
            assert len(cond["class"][0]) == len(x)
            return super().forward(x, level, cond["class"][0])

    walk = DPMpp2M(Told(VPLinear()), eta=1.0)
    operator = Operator(lambda x: x[:, :1], torch.tensor([[0.3]]), 1.0)
    start = Rng(0).normal((24, 2))
    population = TemperedSMC(Waltz(walk, operator, steps=3), 8, sweeps=8).sample(
        start, grid(4), cond, rng=Rng(1)
    )
    x = KalmanWaltz(walk, operator, steps=3).sample(population.chain.x0, 3, cond, rng=Rng(2))
    assert x.shape == (8, 2)
