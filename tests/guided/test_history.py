"""History guidance against closed forms of a jointly Gaussian sequence, AR(1)."""

import math

import pytest
import torch
from scipy.integrate import solve_ivp

from guided import DDIM, Counted, Heun, NetDenoiser, RectifiedFlow, Rng, VPLinear
from guided.guidance import CFG, HistoryGuidance, fractional, temporal, vanilla
from guided.nets import AttentionControl, Control, Transformer
from guided.rng import stream_seed
from guided.schedule import log_snr, uniform
from tests.guided.draws import normal
from tests.guided.tokens import DECAY, F64, Tokens, ar1

PAST = torch.tensor([True, False, True, True, False])  # history need not come first
BRANCHES = {
    "vanilla": vanilla(3, 2.5),
    "fractional": fractional(3, 2.5, 0.4),
    "temporal": temporal(3, [([0, 1], 0.7), ([2], 1.6)]),
}


def shown(known, levels, schedule, seed=0):
    """The history as the docstring says that it is noised."""
    found = known.clone()
    for token, t in zip(PAST.nonzero().flatten().tolist(), levels, strict=True):
        noise = Rng(stream_seed(seed, round(t * 2**40))).normal((1, *known.shape[1:]), F64)
        alpha, sigma = schedule(t)
        found[:, token] = alpha * known[:, token] + sigma * noise[:, token]
    return found


def posterior_mean(x, levels, t, schedule):
    """E[x0 | x] by the precision matrix, a level for each token; clean ones are nearly exact."""
    times = torch.full((5,), t, dtype=F64)
    times[PAST] = torch.tensor(levels, dtype=F64)
    alpha, sigma = schedule(times)
    weight = alpha / sigma.clamp(min=1e-6) ** 2
    precision = torch.linalg.inv(ar1(5)) + torch.diag(alpha * weight)
    return torch.linalg.inv(precision) @ (weight[:, None] * x)


@pytest.mark.parametrize("schedule", [VPLinear(), RectifiedFlow()], ids=["vp", "flow"])
@pytest.mark.parametrize("name", BRANCHES)
def test_the_prediction_is_the_weighted_sum_of_exact_conditionals(name, schedule):
    known, x = normal(3, 5, 2), normal(3, 5, 2, seed=1)
    level = schedule.level(0.6)
    guided = HistoryGuidance(Tokens(ar1(5), schedule), known, PAST, BRANCHES[name])
    found = guided(x, level)
    expected = torch.zeros_like(x)
    for levels, weight in BRANCHES[name].items():
        seen = torch.where(PAST[:, None], shown(known, levels, schedule), x)
        expected += weight * posterior_mean(seen, levels, 0.6, schedule)
    expected[:, PAST] = known[:, PAST]
    torch.testing.assert_close(found.x0, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(level.alpha * found.x0 + level.sigma * found.eps, x)


def law(branches, known, times, count=2):
    """Mean and variance of the one token after count history tokens: the run is affine."""
    past = torch.arange(count + 1) < count
    guided = HistoryGuidance(Tokens(ar1(count + 1)), known, past, branches)
    starts = torch.zeros(2, count + 1, 1, dtype=F64)
    starts[1, -1] = 1.0
    low, high = Heun(guided).sample(starts, times, rng=Rng(0))[:, -1, 0].tolist()
    sigma = RectifiedFlow()(times[0])[1]
    return low, (high - low) ** 2 * sigma**2


def conditional(levels, known):
    """Mean and variance of the next token given the noised history (precision form)."""
    alpha, sigma = RectifiedFlow()(torch.tensor(levels, dtype=F64))
    seen = shown_line(known, levels)
    weight = alpha / sigma.clamp(min=1e-6) ** 2
    count = len(levels)
    precision = torch.linalg.inv(ar1(count + 1))
    precision[:count, :count] += torch.diag(alpha * weight)
    cov = torch.linalg.inv(precision)
    return (cov[-1, :count] @ (weight * seen)).item(), cov[-1, -1].item()


def shown_line(known, levels):
    values = []
    for token, t in enumerate(levels):
        noise = Rng(stream_seed(0, round(t * 2**40))).normal((1, *known.shape[1:]), F64)
        alpha, sigma = RectifiedFlow()(t)
        values.append(alpha * known[0, token, 0] + sigma * noise[0, token, 0])
    return torch.stack(values)


@pytest.mark.parametrize(
    "branches",
    [
        vanilla(2, 1.0),
        vanilla(2, 2.0),
        fractional(2, 2.0, 0.3),
        temporal(2, [([0], 0.6), ([1], 1.3)]),
    ],
    ids=["conditional", "vanilla", "fractional", "temporal"],
)
def test_the_law_of_samples_is_that_of_the_flow(branches):
    """Of Gaussians N(m_b, v_b) with weights w_b: variance prod v_b^w_b, mean by the scalar flow."""
    known = torch.tensor([[[0.5], [-1.2], [0.0]]], dtype=F64)
    times = log_snr(RectifiedFlow(), 150, sigma_min=1e-3, sigma_max=300.0)
    laws = [(w, *conditional(levels, known)) for levels, w in branches.items()]

    def flow(r, m):
        return [r * sum(w * (m[0] - mean) / (v + r * r) for w, mean, v in laws)]

    # The run starts at x = 0 where the noise-to-signal ratio is 300.
    end = solve_ivp(flow, (300.0, 0.0), [0.0], rtol=1e-10, atol=1e-12).y[0, -1]
    mean, variance = law(branches, known, times)
    assert mean == pytest.approx(end, abs=2e-3)
    exact = math.prod(v**w for w, _, v in laws)
    assert variance == pytest.approx(exact, rel=5e-3)


def test_scale_one_samples_the_conditional_law():
    known = torch.tensor([[[0.5], [-1.2], [0.0]]], dtype=F64)
    times = log_snr(RectifiedFlow(), 150, sigma_min=1e-3, sigma_max=300.0)
    mean, variance = law(vanilla(2, 1.0), known, times)
    assert mean == pytest.approx(DECAY * -1.2, abs=5e-3)
    assert variance == pytest.approx(1 - DECAY**2, rel=5e-3)


def test_the_history_ends_as_it_is_known():
    known = normal(2, 5, 1)
    guided = HistoryGuidance(Tokens(ar1(5)), known, PAST, BRANCHES["temporal"])
    end = DDIM(guided).sample(normal(2, 5, 1, seed=3), uniform(7), rng=Rng(0))
    torch.testing.assert_close(end[:, PAST], known[:, PAST])


@pytest.mark.parametrize(
    ("branches", "rows"),
    [
        (vanilla(3, 1.0), 1),
        (fractional(3, 3.0, 1.0), 1),
        (vanilla(3, 3.0), 2),
        (fractional(3, 3.0, 0.0), 2),
        (fractional(3, 3.0, 0.5), 3),
        (temporal(3, [([0], 1.0), ([1], 1.0), ([2], 1.0), ([2], 0.5)]), 4),
    ],
)
def test_one_call_of_as_many_rows_as_branches(branches, rows):
    counted = Counted(Tokens(ar1(5)))
    guided = HistoryGuidance(counted, normal(1, 5, 1), PAST, branches)
    DDIM(guided).sample(normal(4, 5, 1), uniform(6), rng=Rng(0))
    assert (counted.calls, counted.rows) == (6, 6 * 4 * rows)


def test_neutral_values_are_the_conditional_model_bit_for_bit():
    known, x, level = normal(1, 5, 1), normal(2, 5, 1, seed=1), RectifiedFlow().level(0.5)
    plain = HistoryGuidance(Tokens(ar1(5)), known, PAST, {(0.0, 0.0, 0.0): 1.0})(x, level)
    for branches in (vanilla(3, 1.0), fractional(3, 4.0, 1.0)):
        found = HistoryGuidance(Tokens(ar1(5)), known, PAST, branches)(x, level)
        assert torch.equal(found.x0, plain.x0) and torch.equal(found.eps, plain.eps)


def test_stabilisation_raises_the_level_and_merges_again():
    known = normal(1, 5, 1)
    low = HistoryGuidance(Tokens(ar1(5)), known, PAST, fractional(3, 2.0, 0.01), 0.02)
    assert low.branches == {(0.02,) * 3: 2.0, (1.0,) * 3: -1.0}
    some = HistoryGuidance(Tokens(ar1(5)), known, PAST, vanilla(3, 2.0), [0.0, 0.1, 0.0])
    assert list(some.branches) == [(0.0, 0.1, 0.0), (1.0, 1.0, 1.0)]
    expected = shown(known, (0.0, 0.1, 0.0), RectifiedFlow())
    torch.testing.assert_close(some.shown[0].x, expected)


def test_a_row_does_not_depend_on_its_batch_and_seeds_are_per_history():
    known, x = normal(7, 5, 1), normal(14, 5, 1, seed=1)
    level, seeds = RectifiedFlow().level(0.5), list(range(7))
    branches = BRANCHES["fractional"]
    whole = HistoryGuidance(Tokens(ar1(5)), known, PAST, branches, seed=seeds)(x, level)
    for i in range(7):
        one = HistoryGuidance(Tokens(ar1(5)), known[i : i + 1], PAST, branches, seed=i)
        alone = one(x[2 * i : 2 * i + 2], level)
        torch.testing.assert_close(alone.x0, whole.x0[2 * i : 2 * i + 2], rtol=1e-12, atol=1e-12)
    other = HistoryGuidance(Tokens(ar1(5)), known, PAST, branches, seed=1)(x, level)
    assert not torch.allclose(other.x0[:2], whole.x0[:2])
    torch.testing.assert_close(other.x0[2:4], whole.x0[2:4])


def test_inputs_are_untouched_and_types_kept():
    known, x, past = normal(1, 5, 1).float(), normal(2, 5, 1).float(), PAST.clone()
    copies = known.clone(), x.clone(), past.clone()
    guided = HistoryGuidance(Tokens(ar1(5)), known, past, BRANCHES["vanilla"])
    found = guided(x, RectifiedFlow().level(0.5))
    assert found.x0.dtype == found.eps.dtype == torch.float32
    assert all(torch.equal(a, b) for a, b in zip((known, x, past), copies, strict=True))


def network(prediction="v", schedule=None):
    torch.manual_seed(0)
    net = Transformer(2, width=24, depth=2, heads=2, labels=3).double().requires_grad_(False)
    for seed, p in enumerate(net.parameters()):
        p.add_(0.3 * normal(*p.shape, seed=seed))
    return NetDenoiser(net, schedule or VPLinear(), prediction)


@pytest.mark.parametrize("prediction", ["x0", "eps", "v", "flow", "edm"])
def test_a_network_evaluates_all_branches_as_it_would_one(prediction):
    model, known, x = network(prediction), normal(1, 5, 2), normal(3, 5, 2, seed=1)
    level, labels = VPLinear().level(0.5), torch.tensor([0, 1, 2])
    branches = fractional(3, 2.0, 0.4)
    found = HistoryGuidance(model, known, PAST, branches, 0.01)(x, level, labels)
    total = torch.zeros_like(x)
    for (first, *_), weight in branches.items():
        alone = HistoryGuidance(model, known, PAST, {(first,) * 3: 1.0}, 0.01)(x, level, labels)
        total += weight * alone.x0
    torch.testing.assert_close(found.x0[:, ~PAST], total[:, ~PAST])
    assert found.x0.isfinite().all() and found.eps.isfinite().all()


def test_it_nests_in_cfg_and_passes_controls_on():
    known, x = normal(1, 5, 2), normal(3, 5, 2, seed=1)
    level, labels = VPLinear().level(0.5), torch.tensor([0, 1, 2])
    history = HistoryGuidance(network(), known, PAST, vanilla(3, 2.0))
    null = lambda c: torch.full_like(c, 3)  # noqa: E731
    found = CFG(history, 2.0, null)(x, level, labels)
    strong, weak = history(x, level, labels), history(x, level, null(labels))
    torch.testing.assert_close(found.x0, 2 * strong.x0 - weak.x0)
    assert history.layers == 2
    alone = Control(AttentionControl(frozenset({0, 1}), "identity"))
    blind = history.controlled(x, level, labels, alone).x0
    other = HistoryGuidance(network(), -known, PAST, vanilla(3, 2.0))
    torch.testing.assert_close(
        other.controlled(x, level, labels, alone).x0[:, ~PAST], blind[:, ~PAST]
    )
    assert not torch.allclose(other(x, level, labels).x0[:, ~PAST], strong.x0[:, ~PAST])


def make(known=(1, 5, 1), past=PAST, branches=None, denoiser=None, **options):
    branches = branches or vanilla(3, 2.0)
    denoiser = denoiser or Tokens(ar1(5))
    return HistoryGuidance(denoiser, torch.zeros(known), past, branches, **options)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"known": (5, 1)}, r"history \(R, T, \.\.\.\) .* got \(5, 1\)"),
        ({"past": PAST.int()}, r"booleans \(T,\), got \(1, 5, 1\) and torch.int32 of \(5,\)"),
        ({"known": (1, 4, 1)}, r"got \(1, 4, 1\) and torch.bool of \(5,\)"),
        ({"branches": vanilla(2, 2.0)}, r"each of the 3 history tokens, got \[2\] levels"),
        ({"stabilise": [0.1]}, "stabilise has 1 levels for 3 history tokens"),
        ({"seed": [1, 2]}, "2 seeds for 1 histories; give one"),
        ({"denoiser": network("edm")}, "a 'edm' network divides by sigma, .* stabilise=0.001"),
        ({"denoiser": Counted(network("x0"))}, "a 'x0' network divides by sigma"),
    ],
)
def test_what_does_not_fit_is_refused(options, match):
    with pytest.raises(ValueError, match=match):
        make(**options)


def test_samples_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(B, 5, 1\) with B a multiple of 2, got .* \(3, 5, 1\)"):
        make(known=(2, 5, 1))(torch.zeros(3, 5, 1), RectifiedFlow().level(0.5))
