"""CFG in closed form: its law on Gaussians, its identities, nested conditions and intervals."""

import math

import pytest
import torch
from scipy.integrate import quad

from guided import CFG, DDIM, DDPM, VE, Counted, Denoiser, Heun, NetDenoiser, Rng, VPLinear
from guided.denoiser import Prediction
from guided.exact import Mixture
from guided.guidance import Between, NestedCFG, together
from guided.guidance.scale import from_s, interval
from guided.schedule import karras, log_snr, uniform
from tests.guided.laws import extrapolated
from tests.guided.toy import Toy, null
from tests.guided.two_laws import F64, Always, TwoGaussians, dropped

TIMES = uniform(6, start=0.99)
COARSE, *GRIDS = (log_snr(VE(), n, sigma_min=1e-3, sigma_max=80.0) for n in (100, 200, 400))
COND = torch.linspace(0.1, 0.9, 6, dtype=F64)


def law_of_cfg(w, means, variances, end=80.0):
    """Mean and variance of the flow dx/ds = s sum_i w_i (x - m_i) / (v_i + s^2), from N(0, end^2).

    It is linear: with q(u) = prod_i (v_i + u)^(-w_i / 2) and u = s^2, x q(u) moves by q times the
    pull of the means.
    """
    weights = (w, 1 - w)

    def q(u):
        return math.prod((v + u) ** (-a / 2) for v, a in zip(variances, weights, strict=True))

    def pull(u):
        return (
            0.5
            * q(u)
            * sum(a * m / (v + u) for a, m, v in zip(weights, means, variances, strict=True))
        )

    # In log u, as the pull falls slowly.
    moved = quad(lambda z: pull(math.exp(z)) * math.exp(z), -40, 2 * math.log(end), limit=200)[0]
    return moved / q(0), (end * q(end**2) / q(0)) ** 2


@pytest.mark.parametrize("w", [-0.5, 0.0, 0.5, 1.0, 2.0, 3.0, 7.5])
@pytest.mark.parametrize("variances", [(1.0, 2.0), (0.5, 0.5), (1.5, 0.4)])
def test_the_flow_of_cfg_has_the_mean_and_the_variance_of_its_closed_form(w, variances) -> None:
    means = (1.2, -0.3)
    guided = Always(CFG(TwoGaussians(VE(), means, variances), w, dropped))
    found = extrapolated(Heun(guided), COARSE, GRIDS[0])
    assert found == pytest.approx(law_of_cfg(w, means, variances), rel=2e-3, abs=2e-3)


def test_the_closed_form_is_that_of_the_literature() -> None:
    """p(x|c) = N(m, 1), p(x) = N(0, 2): mean 2 m and variance 1/4 for w = 3 (by hand)."""
    mean, variance = law_of_cfg(3.0, (0.7, 0.0), (1.0, 2.0), end=1e4)
    assert (mean, variance) == pytest.approx((1.4, 0.25), rel=1e-3)
    for w in (2.0, 5.0):
        assert law_of_cfg(w, (0, 0), (1.0, 2.0), end=1e4)[1] == pytest.approx(2 ** (1 - w), 1e-6)


@pytest.mark.parametrize("w", [0.75, 2.0, 3.0])
def test_the_sde_of_cfg_ends_with_another_variance_than_its_flow(w: float) -> None:
    """(2 - 2^(2 - 2 w)) / (2 w - 1), neither 2^(1 - w) nor the 2 / (w + 1) of the powered law."""
    guided = Always(CFG(TwoGaussians(VE(), (0.0, 0.0), (1.0, 2.0)), w, dropped))
    _, variance = extrapolated(DDPM(guided), *GRIDS)
    assert variance == pytest.approx((2 - 2 ** (2 - 2 * w)) / (2 * w - 1), rel=3e-3)


def test_a_scale_per_request_is_a_loop_over_requests() -> None:
    toy, level = Toy(VPLinear()), VPLinear().level(0.5)
    x = Rng(0).normal((6, 3, 2), F64)
    scales = torch.tensor([0.0, 2.5, -1.0], dtype=F64)  # two candidates of each of three requests
    found = CFG(toy, scales, null)(x, level, COND)
    for i in range(6):
        one = CFG(toy, scales[i // 2].item(), null)(x[i : i + 1], level, COND[i : i + 1])
        torch.testing.assert_close(found.x0[i], one.x0[0])
        torch.testing.assert_close(found.eps[i], one.eps[0])


def test_scales_zero_and_one_are_one_branch_bit_for_bit() -> None:
    x, level = Rng(0).normal((6, 3), F64), VPLinear().level(0.5)
    for w, cond in ((0.0, null(COND)), (1.0, COND)):
        counted = Counted(Toy(VPLinear()))
        assert torch.equal(CFG(counted, w, null)(x, level, COND).x0, counted(x, level, cond).x0)
        assert (counted.calls, counted.rows) == (2, 12)


def test_a_level_of_every_row_goes_with_its_row() -> None:
    counted, x = Counted(Toy(VPLinear())), Rng(0).normal((6, 3), F64)
    times = torch.linspace(0.2, 0.8, 6, dtype=F64)[:, None]
    found = CFG(counted, 3.0, null)(x, VPLinear().level(times), COND)
    assert (counted.calls, counted.rows) == (1, 12)
    for i, t in enumerate(times[:, 0].tolist()):
        one = CFG(Toy(VPLinear()), 3.0, null)(x[i : i + 1], VPLinear().level(t), COND[i : i + 1])
        torch.testing.assert_close(found.x0[i], one.x0[0])


@pytest.mark.parametrize("shape", [(), (4,), (6, 1), (12,)])
def test_a_scale_that_does_not_fit_the_batch_is_refused(shape) -> None:
    guided = CFG(Toy(VPLinear()), torch.full(shape, 2.0), null)
    with pytest.raises(ValueError, match=r"a scale per request is \(R,\) with R a divisor"):
        guided(torch.zeros(6, 2), VPLinear().level(0.5), COND)


@pytest.mark.parametrize("scale", [math.nan, math.inf, torch.tensor([1.0, math.nan])])
def test_a_scale_that_is_not_finite_is_refused(scale) -> None:
    with pytest.raises(ValueError, match="needs a finite scale"):
        CFG(Toy(VPLinear()), scale, null)


def test_a_scale_of_no_request_is_refused() -> None:
    with pytest.raises(ValueError, match="a contrast needs a scale per request, got none"):
        CFG(Toy(VPLinear()), torch.ones(0), null)


def test_scales_that_count_from_the_conditional_model() -> None:
    assert from_s(0.0) == 1.0
    assert from_s(6.5) == 7.5


@pytest.mark.parametrize("w", [-2.0, 0.0, 0.3, 1.0, 9.0, torch.tensor([3.0])])
def test_a_null_condition_that_is_the_condition_guides_nowhere(w) -> None:
    toy, level, x = Toy(VPLinear()), VPLinear().level(0.4), Rng(0).normal((6, 3), F64)
    found = CFG(toy, w, lambda cond: cond)(x, level, COND)
    assert torch.equal(found.x0, toy(x, level, COND).x0)
    assert torch.equal(found.eps, toy(x, level, COND).eps)


class Exact(torch.nn.Module):
    """The exact denoiser of the toy as a network that predicts x0, eps, v or flow."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x, time, cond):
        level = VPLinear().level(time.reshape(-1, *[1] * (x.ndim - 1)))
        x0, eps = Toy(VPLinear())(x, level, cond)
        v = level.alpha * eps - level.sigma * x0
        return {"x0": x0, "eps": eps, "v": v, "flow": eps - x0}[self.kind]


@pytest.mark.parametrize("kind", ["x0", "eps", "v", "flow"])
@pytest.mark.parametrize("w", [0.0, 4.0])
def test_cfg_is_one_method_whatever_the_network_predicts(kind, w) -> None:
    x = Rng(0).normal((6, 5), F64)
    net = NetDenoiser(Exact(kind), VPLinear(), kind)
    found = DDIM(CFG(net, w, null)).sample(x, TIMES, COND, rng=Rng(0))
    expected = DDIM(CFG(Toy(VPLinear()), w, null)).sample(x, TIMES, COND, rng=Rng(0))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


class TwoConditions(Denoiser):
    """N(m(a, b), 0.09) for conditions (B, 2), with a mean in which a and b are no sum; 0 = null."""

    def __init__(self, shift: float = 0.0) -> None:
        super().__init__()
        self.schedule, self.shift = VPLinear(), shift

    def forward(self, x, level, cond=None) -> Prediction:
        a, b = cond[:, 0], cond[:, 1]
        x0 = Toy(self.schedule)(x, level, a + 2 * b + 3 * a * b).x0 + self.shift
        return Prediction(x0, (x - level.alpha * x0) / level.sigma)


def without(*columns: int):
    def drop(cond: torch.Tensor) -> torch.Tensor:
        kept = cond.clone()
        kept[:, list(columns)] = 0
        return kept

    return drop


BOTH = Rng(3).uniform((6, 2), F64) + 0.2
LEVEL = VPLinear().level(0.6)
X = Rng(0).normal((6, 3), F64)


def nested(scales, denoiser=None, order=(0, 1)):
    nulls = [without(*order), without(order[1])]
    return NestedCFG(denoiser or TwoConditions(), scales, nulls)(X, LEVEL, BOTH)


def test_nested_conditions_are_the_chain_of_their_source() -> None:
    toy = TwoConditions()
    full, a, none = (toy(X, LEVEL, c) for c in (BOTH, without(1)(BOTH), without(0, 1)(BOTH)))
    for wa, wb in ((4.0, 2.5), (0.0, 3.0), (-1.0, 0.5), (1.0, 2.0), (2.0, 1.0)):
        found = nested([wa, wb])
        for part in (0, 1):
            expected = none[part] + wa * (a[part] - none[part]) + wb * (full[part] - a[part])
            torch.testing.assert_close(found[part], expected)


def test_nested_conditions_keep_their_identities() -> None:
    toy = TwoConditions()
    assert torch.equal(nested([1.0, 1.0]).x0, toy(X, LEVEL, BOTH).x0)
    on_a = CFG(toy, 3.0, without(0))(X, LEVEL, without(1)(BOTH))
    torch.testing.assert_close(nested([3.0, 0.0]).x0, on_a.x0)
    there, back = nested([3.0, 2.0]).x0, nested([2.0, 3.0], order=(1, 0)).x0
    assert (there - back).abs().min() > 0.05  # the same scale for each, the other order
    shifted = nested([3.0, 2.0], TwoConditions(shift=5.0)).x0
    torch.testing.assert_close(shifted, there + 5)  # the weights of all branches add up to 1


@pytest.mark.parametrize(
    ("scales", "rows"), [([4, 2], 18), ([4, 1], 18), ([1, 2], 12), ([1, 1], 6)]
)
def test_nested_branches_are_one_call(scales, rows) -> None:
    counted = Counted(TwoConditions())
    nested(scales, counted)
    assert (counted.calls, counted.rows) == (1, rows)


def test_nested_conditions_need_a_scale_each() -> None:
    with pytest.raises(ValueError, match="got 1 scales and 2 null conditions"):
        nested([2.0])
    with pytest.raises(ValueError, match="got 0 scales and 0 null conditions"):
        NestedCFG(TwoConditions(), [], [])


def test_an_empty_interval_is_the_conditional_model_and_the_whole_one_is_cfg() -> None:
    def run(scale):
        counted = Counted(Toy(VPLinear()))
        x0 = DDIM(CFG(counted, scale, null)).sample(X, TIMES, COND, rng=Rng(0))
        return x0, counted.rows

    conditional = DDIM(Toy(VPLinear())).sample(X, TIMES, COND, rng=Rng(0))
    empty, rows = run(interval(6.0, 1.0, 1.0))
    assert torch.equal(empty, conditional) and rows == 6 * 6
    whole, rows = run(interval(6.0))
    assert torch.equal(whole, run(6.0)[0]) and rows == 2 * 6 * 6


def test_an_interval_of_a_scale_per_request_is_a_loop_over_requests() -> None:
    scales = torch.tensor([0.5, 3.0], dtype=F64)
    ends = [
        DDIM(CFG(Toy(VPLinear()), interval(w, 0.2, 2.0), null)).sample(X, TIMES, COND, rng=Rng(0))
        for w in (scales, 0.5, 3.0)
    ]
    torch.testing.assert_close(ends[0], torch.cat([ends[1][:3], ends[2][3:]]))


def test_an_interval_that_is_turned_round_is_refused() -> None:
    with pytest.raises(ValueError, match=r"turned round: low=2\.0 is above high=0\.5"):
        interval(3.0, 2.0, 0.5)
    with pytest.raises(ValueError, match=r"turned round: low=2\.0 is above high=0\.5"):
        Between(CFG(Toy(VPLinear()), 3.0, null), 2.0, 0.5)


def test_strong_guidance_loses_a_mode_that_an_interval_keeps() -> None:
    """A class of two equal modes, one of which another class covers: the other one takes all.

    In the interval the modes keep their shares, and move apart from the other class.
    """
    means = torch.tensor([[-1.0], [1.0], [-1.5]], dtype=F64)
    law = Mixture(torch.tensor([0.25, 0.25, 0.5]), means, torch.tensor([0.04, 0.04, 0.25]).double())
    denoiser = law.denoiser(VE(), classes=torch.tensor([0, 0, 1]))
    times = karras(VE(), 40, sigma_max=80.0)
    x = 80 * torch.special.ndtri((torch.arange(400, dtype=F64) + 0.5) / 400)[:, None]

    def modes(scale):
        guided = CFG(denoiser, scale, lambda labels: torch.full_like(labels, -1))
        labels = torch.zeros(400, dtype=torch.long)
        x0 = Heun(guided).sample(x, times, labels, rng=Rng(0))
        return (x0 < 0).double().mean().item(), x0[x0 < 0].mean().item()

    assert modes(1.0) == pytest.approx((0.5, -1.0), abs=0.02)
    assert modes(6.0)[0] < 0.01
    share, place = modes(interval(6.0, 0.2, 0.4))
    assert share == pytest.approx(0.5, abs=0.02)
    assert -0.95 < place < -0.8


def test_branches_of_one_condition_are_evaluated_once() -> None:
    """CFG beside CFG is CFG of the sum of both scales less 1, in two rows."""
    toy = Toy(VPLinear())
    counted, cond = Counted(toy), torch.tensor([0.1, 0.7, 0.9], dtype=F64)
    x = Rng(0).normal((3, 4), F64)
    both = together(CFG(counted, 2.0, null), CFG(counted, 1.5, null))
    found = both(x, LEVEL, cond)
    assert (counted.calls, counted.rows) == (1, 6)
    torch.testing.assert_close(found.x0, CFG(toy, 2.5, null)(x, LEVEL, cond).x0)


def test_an_interval_of_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="low=nan"):
        interval(2.0, math.nan, 1.0)
