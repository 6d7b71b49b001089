"""Smoothed gradients that follow a path: cheaper and closer than new ones, and what they cost."""

import math

import pytest
import torch

from guided import DDIM, DPMpp2M, Operator, Rng, VPLinear
from guided.guidance import DPS, SMC, ZeroOrderDPS
from guided.guidance.smoothing import Smoothing
from guided.schedule import uniform
from tests.guided.registry import ENERGY
from tests.guided.toy import Toy

F64 = torch.float64
D, M = 30, 6
A = Rng(5).normal((M, D), F64) / math.sqrt(D)
Y = torch.linspace(-0.8, 0.8, M, dtype=F64)[None]


def curved(x: torch.Tensor) -> torch.Tensor:
    return torch.tanh(x @ A.mT)


def exact(x0: torch.Tensor) -> torch.Tensor:
    z = x0.clone().requires_grad_()
    return torch.autograd.grad((curved(z) - Y).square().sum(), z)[0]


def path(steps: int, length: float) -> list[torch.Tensor]:
    """Forty samples that turn slowly, by ``length`` of their size a step."""
    a, b = Rng(0).normal((2, 40, D), F64)
    return [math.cos(k * length) * a + math.sin(k * length) * b for k in range(steps)]


@pytest.mark.parametrize(("difference", "plain"), [("central", 13), ("forward", 13)])
def test_it_is_closer_than_new_estimates_at_equal_cost(difference: str, plain: int) -> None:
    """Root mean square error against the exact gradient over 60 slow steps."""
    rows, errors, spent = [], [], []

    def told(x: torch.Tensor) -> torch.Tensor:
        rows.append(len(x))
        return curved(x)

    smoothing = Smoothing(Operator(told, Y, 1.0), 0.01, difference)
    for follow in (False, True):
        rows.clear()
        rng, total, estimate = Rng(1), 0.0, None
        for x0 in path(60, 0.01):
            if follow and estimate is not None:
                estimate = smoothing.followed(x0, estimate, 60, 3, 0.125, rng)
            else:
                estimate = smoothing.anew(x0, 60 if follow else plain, rng)
            total += float((estimate.g - exact(x0)).square().sum())
        errors.append(math.sqrt(total))
        spent.append(sum(rows) / (60 * 40))
    assert spent[1] < 1.03 * spent[0]
    assert errors[1] < 0.6 * errors[0]


def test_a_correction_is_the_formula() -> None:
    """Against a plain loop over samples: some made anew, some corrected, y of two problems."""
    y = torch.cat([Y, -Y])
    operator = Operator(curved, y, 1.0)
    before, x0 = Rng(2).normal((2, 6, D), F64)
    smoothing = Smoothing(operator, 0.01, "central")
    past = smoothing.anew(before, 5, Rng(3))
    found = smoothing.followed(x0, past, 5, 2, 0.5, Rng(4))
    rng = Rng(4)
    u, coin = rng.normal((30, D), F64).reshape(6, 5, D), rng.uniform((6,), F64)
    assert 0 < (coin < 0.5).sum() < 6
    for b in range(6):

        def slope(x: torch.Tensor, v: torch.Tensor, b: int = b) -> torch.Tensor:
            ahead, behind = (
                (curved((x + sign * 0.01 * v)[None]) - y[b // 3]).square().sum() for sign in (1, -1)
            )
            return (ahead - behind) / 0.02 * v

        if coin[b] < 0.5:
            expected = sum(slope(x0[b], u[b, k]) for k in range(5)) / 5
        else:
            pairs = [slope(x0[b], u[b, k]) - slope(before[b], u[b, k]) for k in range(2)]
            expected = past.g[b] + sum(pairs) / 2
        torch.testing.assert_close(found.g[b], expected)
    norm = (curved(x0) - y.repeat_interleave(3, 0)).norm(dim=1)
    torch.testing.assert_close(found.pull, found.g / (2 * norm[:, None]))


@pytest.mark.parametrize("difference", ["central", "forward"])
def test_failed_differences_contribute_nothing(difference: str) -> None:
    def fragile(x: torch.Tensor) -> torch.Tensor:
        return torch.where(x[:, :1] > 0, torch.nan, curved(x))

    smoothing = Smoothing(Operator(fragile, Y, 1.0), 0.1, difference)
    past = smoothing.anew(0.1 * Rng(0).normal((9, D), F64), 5, Rng(1))
    now = smoothing.followed(0.1 * Rng(2).normal((9, D), F64), past, 5, 2, 0.5, Rng(3))
    assert now.misfit.isnan().any()
    assert past.g.isfinite().all() and now.g.isfinite().all() and now.pull.isfinite().all()


# The whole method


def method(refresh: float, sampler: type = DDIM, **options: object) -> ZeroOrderDPS:
    denoiser = Toy(VPLinear())
    return ZeroOrderDPS(
        sampler(denoiser, eta=1.0), Operator(curved, Y, 1.0), 0.4, refresh=refresh, **options
    )


def test_refreshing_always_is_the_plain_method_bit_for_bit() -> None:
    x, times = Rng(0).normal((5, D), F64), uniform(8, 0.99)
    plain = method(1.0).sample(x, times, rng=Rng(1))
    denoiser = Toy(VPLinear())
    bare = ZeroOrderDPS(DDIM(denoiser, eta=1.0), Operator(curved, Y, 1.0), 0.4)
    assert torch.equal(plain, bare.sample(x, times, rng=Rng(1)))
    *_, state = method(1.0).iterate(x, times, rng=Rng(1))
    assert state.memory is None


@pytest.mark.parametrize("sampler", [DDIM, DPMpp2M])
def test_samples_follow_their_own_path(sampler: type) -> None:
    """No coin, direction or estimate of one sample touches another; runs begin without a past."""
    guided = method(0.3, sampler, queries=8, few=2)
    x, times = Rng(0).normal((6, D), F64), uniform(12, 0.99)
    together = guided.sample(x, times, rng=Rng(range(6)))
    assert torch.equal(together, guided.sample(x, times, rng=Rng(range(6))))
    alone = guided.sample(x[3:4], times, rng=Rng([3]))
    torch.testing.assert_close(alone[0], together[3], rtol=1e-9, atol=1e-9)
    inside = SMC(guided, ENERGY, particles=3)  # which resamples the memory of what it wraps
    assert inside.sample(x, times, rng=Rng([0, 1])).isfinite().all()


def test_it_goes_where_the_gradient_goes() -> None:
    x, times = Rng(0).normal((40, D), F64), uniform(60, 0.99)
    guided = method(0.2, queries=60, few=3).sample(x, times, rng=Rng(1))
    operator, toy = Operator(curved, Y, 1.0), Toy(VPLinear())
    slope = DPS(DDIM(toy, eta=1.0), operator, 0.4).sample(x, times, rng=Rng(1))
    plain = DDIM(toy, eta=1.0).sample(x, times, rng=Rng(1))
    found, right, far = ((curved(z) - Y).norm(dim=1).mean() for z in (guided, slope, plain))
    assert right < 0.7 * far
    assert abs(found - right) < 0.3 * (far - right)


def test_it_refuses_bad_numbers() -> None:
    with pytest.raises(ValueError, match=r"refresh in \(0, 1\] and 1 to 64 few .* got 0.0 and 4"):
        method(0.0)
    with pytest.raises(ValueError, match=r"1 to 3 few directions, got 0\.5 and 4"):
        method(0.5, queries=3)
