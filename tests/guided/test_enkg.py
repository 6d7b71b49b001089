"""EnKG and CPS against transcriptions of their formulas, and against what they cannot do."""

import itertools
import math

import pytest
import torch

from guided import DDIM, DDPM, VE, Counted, Operator, Rng
from guided.exact import Mixture
from guided.guidance import CPS, EnKG
from guided.schedule import Level, karras

D, M = 6, 3
PRIOR = Mixture(
    torch.tensor([0.5, 0.3, 0.2]).double(), 1.5 * Rng(4).normal((3, D), torch.float64), 0.2
)
A = Rng(5).normal((M, D), torch.float64) / 2
SIGMAS = VE()


def curved(x: torch.Tensor) -> torch.Tensor:
    """A forward map that is not linear."""
    return torch.tanh(x @ A.mT) + 0.2 * (x @ A.mT)


def denoise(x: torch.Tensor, sigma: float) -> torch.Tensor:
    return PRIOR.denoise(x, Level(0.0, 1.0, sigma))


def walked(x: torch.Tensor, sigma: float, nodes: int) -> torch.Tensor:
    """Euler's method on the flow from sigma to 0, over the nodes of the paper."""
    count, low = max(nodes - 1, 1), 0.002 ** (1 / 7)
    high = sigma ** (1 / 7)
    walk = [(high + n / count * (low - high)) ** 7 for n in range(nodes)]
    for here, there in zip(walk, [*walk[1:], 0.0], strict=True):
        x = x + (there - here) * (x - denoise(x, here)) / here
    return x


def pulled(x: torch.Tensor, out: torch.Tensor, y: torch.Tensor, scale: float) -> torch.Tensor:
    """One update, entry by entry; outputs and y in units of the noise."""
    J = len(x)
    C = torch.zeros(J, J).double()
    for j, k in itertools.product(range(J), repeat=2):
        for e in range(len(y)):
            C[j, k] += (out[j, e] - y[e]) * (out[k, e] - out[:, e].mean()) / J
    length = math.sqrt(sum(float(c) ** 2 for c in C.flatten()))
    moves = [sum(C[j, k] * (x[k] - x.mean(0)) for k in range(J)) for j in range(J)]
    return x - scale / length * torch.stack(moves)


def transcribed(x, y, noise, scale, steps, updates, factor):
    """The loops of the paper in EDM variables, guided in all steps but the first."""
    ratios = [SIGMAS.level(t).sigma for t in karras(SIGMAS, steps)]
    for i in range(steps):
        for _ in range(updates if i > 0 else 0):
            x0 = walked(x, ratios[i], min(1 + (steps - i) // factor, 20))
            x = pulled(x, curved(x0) / noise, y / noise, scale)
        x = x + (ratios[i + 1] - ratios[i]) * (x - denoise(x, ratios[i])) / ratios[i]
    return x


def test_it_is_the_papers_algorithm_step_by_step() -> None:
    steps, factor, noise = 12, 4, 0.3
    y = curved(PRIOR.sample(1, Rng(0)))
    times = karras(SIGMAS, steps)

    def rollout(t: Level) -> int:
        step = min(range(steps), key=lambda i: abs(times[i] - t.t))
        return min(1 + (steps - step) // factor, 20)

    method = EnKG(
        DDIM(PRIOR.denoiser(SIGMAS)),
        Operator(curved, y, noise),
        step="scaled",
        scale=2.0,
        updates=2,
        rollout=rollout,
        high=79.0,
    )
    x = method.initial((7, D), times, Rng(1), torch.float64)
    ours = method.sample(x, times, rng=Rng(2))
    torch.testing.assert_close(ours, transcribed(x, y[0], noise, 2.0, steps, 2, factor))


def test_problems_do_not_see_each_other() -> None:
    y = curved(PRIOR.sample(3, Rng(0)))
    times = karras(SIGMAS, 10)
    x = 80 * Rng(1).normal((3 * 8, D), torch.float64)
    together = EnKG(DDIM(PRIOR.denoiser(SIGMAS)), Operator(curved, y, 0.3)).sample(
        x, times, rng=Rng(0)
    )
    for p in range(3):
        operator = Operator(curved, y[p : p + 1], 0.3)
        alone = EnKG(DDIM(PRIOR.denoiser(SIGMAS)), operator).sample(
            x[8 * p : 8 * p + 8], times, rng=Rng(0)
        )
        torch.testing.assert_close(alone, together[8 * p : 8 * p + 8])


@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_the_adaptive_step_fits_to_the_noise_whatever_the_scale_of_the_outputs(
    scale: float,
) -> None:
    y = scale * curved(PRIOR.sample(1, Rng(3)))
    operator = Operator(lambda x: scale * curved(x), y, 0.3 * scale)
    method = EnKG(DDIM(PRIOR.denoiser(SIGMAS)), operator)
    times = karras(SIGMAS, 25)
    x = method.initial((256, D), times, Rng(1), torch.float64)
    misfits = []
    for kind in (method, DDIM(PRIOR.denoiser(SIGMAS))):
        x0 = kind.sample(x, times, rng=Rng(0))
        misfits.append(float(((operator(x0) - y) / operator.noise).square().mean()))
    guided, unguided = misfits
    assert unguided > 3
    assert guided < 2


def test_it_is_no_posterior_sampler() -> None:
    """Its known bias: half the noise of y does not halve the spread where the step is constant."""
    law = Mixture(torch.ones(1).double(), torch.zeros(1, 2).double(), 1.0)
    y = torch.tensor([[1.0]]).double()
    times, spreads = karras(SIGMAS, 40), []
    for noise in (1.0, 0.5, 0.1):
        operator = Operator(lambda x: x[:, :1], y, noise)
        method = EnKG(DDIM(law.denoiser(SIGMAS)), operator, step="scaled", scale=0.5)
        x = method.initial((512, 2), times, Rng(1), torch.float64)
        x0 = method.sample(x, times, rng=Rng(0))
        spreads.append(float(x0[:, 0].std()))
    assert max(spreads) / min(spreads) < 1.001
    exact = [math.sqrt(1 / (1 + noise**-2)) for noise in (1.0, 0.5, 0.1)]
    assert max(exact) / min(exact) > 5


def test_failed_members_move_with_the_others_and_teach_nothing() -> None:
    y = curved(PRIOR.sample(1, Rng(0)))

    def fragile(x: torch.Tensor) -> torch.Tensor:
        return torch.where(torch.arange(len(x))[:, None] % 3 == 0, torch.nan, curved(x))

    method = EnKG(DDIM(PRIOR.denoiser(SIGMAS)), Operator(fragile, y, 0.3))
    times = karras(SIGMAS, 15)
    x = method.initial((60, D), times, Rng(1), torch.float64)
    *_, state = method.iterate(x, times, rng=Rng(0))
    assert state.x.isfinite().all()
    assert state.energy.isfinite().all()
    misfit = ((curved(state.x) - y) / 0.3).square().mean()
    assert misfit < 3


@pytest.mark.parametrize("step", ["adaptive", "scaled"])
def test_members_with_equal_outputs_teach_nothing(step: str) -> None:
    """A black box with steps may map a whole ensemble to one output, whose mean is rounded."""
    constant = torch.tensor([0.1, 0.7, 1.3, -0.3, 2.1]).double() / 3

    def flat(x: torch.Tensor) -> torch.Tensor:
        return constant.expand(len(x), -1)

    assert bool((flat(torch.zeros(7, 1)) != flat(torch.zeros(7, 1)).mean(0)).any())
    sampler, times = DDIM(PRIOR.denoiser(SIGMAS)), karras(SIGMAS, 5)
    x = sampler.initial((7, D), times, Rng(0), torch.float64)
    operator = Operator(flat, torch.zeros(1, 5).double(), 0.01)
    moved = EnKG(sampler, operator, step=step).sample(x, times, rng=Rng(1))
    assert torch.equal(moved, sampler.sample(x, times, rng=Rng(1)))


def test_cost_and_neutral_form() -> None:
    counted = Counted(PRIOR.denoiser(SIGMAS))
    calls = []

    def told(x: torch.Tensor) -> torch.Tensor:
        calls.append(len(x))
        return curved(x)

    operator = Operator(told, curved(PRIOR.sample(1, Rng(0))), 0.3)
    times, x = karras(SIGMAS, 6), 80 * Rng(1).normal((5, D), torch.float64)
    EnKG(DDIM(counted), operator, updates=2, rollout=3).sample(x, times, rng=Rng(0))
    assert calls == [5] * 12
    assert counted.calls == 6 + 2 * (3 + 3 + 2 + 2 + 1 + 1)
    neutral = EnKG(DDIM(counted), operator, step="scaled", scale=0.0)
    plain = DDIM(counted).sample(x, times, rng=Rng(0))
    assert torch.equal(neutral.sample(x, times, rng=Rng(0)), plain)
    assert len(calls) == 12


def test_an_ensemble_of_one_is_refused() -> None:
    operator = Operator(curved, curved(PRIOR.sample(1, Rng(0))), 0.3)
    with pytest.raises(ValueError, match="needs 2 members, got 1"):
        EnKG(DDIM(PRIOR.denoiser(SIGMAS)), operator).sample(
            torch.zeros(1, D).double(), karras(SIGMAS, 4), rng=Rng(0)
        )


# CPS, which learns from candidates instead of an ensemble


def test_the_fitted_noise_is_the_formula() -> None:
    y = curved(PRIOR.sample(2, Rng(0)))
    method = CPS(DDPM(PRIOR.denoiser(SIGMAS)), Operator(curved, y, 0.3), candidates=5)
    noise, out = Rng(1).normal((10, D), torch.float64), Rng(2).normal((10, M), torch.float64)
    direction, _ = method._fitted(out, noise)
    for b in range(2):
        g, e = out[5 * b : 5 * b + 5] / 0.3, noise[5 * b : 5 * b + 5]
        A = sum(torch.outer(g[k] - g.mean(0), e[k]) for k in range(5)) / 5
        pull = A.mT @ (y[b] / 0.3 - g.mean(0))
        torch.testing.assert_close(direction[b], math.sqrt(D) * pull / pull.norm())


def test_cps_lowers_the_misfit_and_costs_what_it_says() -> None:
    counted = Counted(PRIOR.denoiser(SIGMAS))
    y = curved(PRIOR.sample(4, Rng(3)))
    operator = Operator(curved, y, 0.1)
    times = karras(SIGMAS, 30)
    x = 80 * Rng(1).normal((4, D), torch.float64)
    method = CPS(DDPM(counted), operator, candidates=16, restarts=2)
    x0 = method.sample(x, times, rng=Rng([0, 1, 2, 3]))
    high = sum(SIGMAS.level(t).sigma > 22 for t in times)
    assert counted.rows == 4 * (17 * (29 + high) + 1)
    plain = DDPM(counted).sample(x, times, rng=Rng([0, 1, 2, 3]))
    misfits = [(operator(z) - y).norm(dim=1).mean() for z in (x0, plain)]
    assert misfits[0] < 0.3 * misfits[1]
    alone = CPS(DDPM(counted), Operator(curved, y[2:3], 0.1), candidates=16, restarts=2)
    torch.testing.assert_close(alone.sample(x[2:3], times, rng=Rng([2]))[0], x0[2])


def test_candidates_that_fail_do_not_vote() -> None:
    def fragile(x: torch.Tensor) -> torch.Tensor:
        return torch.where(x[:, :1] > 0, torch.nan, curved(x))

    y = curved(PRIOR.sample(1, Rng(0)))
    method = CPS(DDPM(PRIOR.denoiser(SIGMAS)), Operator(fragile, y, 0.3), candidates=8)
    times = karras(SIGMAS, 15)
    x = method.sample(80 * Rng(1).normal((3, D), torch.float64), times, rng=Rng(0))
    assert x.isfinite().all()
