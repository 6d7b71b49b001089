"""Adaptive guidance against a loop over samples: who is guided, for how long, and at what cost."""

import itertools

import pytest
import torch

from guided import CFG, DDIM, SCG, Counted, DPMpp2M, Heun, Level, Rng, State, VPLinear
from guided.denoiser import Denoiser, Prediction
from guided.guidance import (
    SCFG,
    AdaptiveGuidance,
    Between,
    CFGZeroStar,
    Contrast,
    LinearAG,
    LinearTable,
    NestedCFG,
    Term,
)
from guided.guidance.branches import Call, Following
from guided.guidance.branches import null as null_branch
from guided.guidance.scale import interval
from guided.guidance.step.adaptive import Agreed
from guided.schedule import uniform
from tests.guided.registry import ENERGY
from tests.guided.toy import Toy, null

F64 = torch.float64
TIMES = uniform(12, start=0.3)
SIZE = 8


class Ways(Denoiser):
    """N(m, 0.09) with a mean m along one axis or another, of the length of the condition (B,)."""

    def __init__(self) -> None:
        super().__init__()
        self.schedule = VPLinear()

    def forward(self, x, level, cond=None) -> Prediction:
        mean = torch.zeros_like(x)
        mean[:, 0] = cond
        mean[:, 1] = cond.square()
        gain = level.alpha * 0.09 / (level.alpha**2 * 0.09 + level.sigma**2)
        x0 = mean + gain * (x - level.alpha * mean)
        return Prediction(x0, (x - level.alpha * x0) / level.sigma)


X = Rng(0).normal((7, SIZE), F64)
COND = torch.tensor([0.05, 0.5, 1.0, 1.5, 2.0, 3.0, 1.2], dtype=F64)


def nothing(cond: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(cond)


def by_hand(x, cond, w, threshold, high=float("inf")):
    """One sample (SIZE,) alone, step by step; its end, and in how many steps it was guided."""
    model, levels, guided_steps, done = Ways(), VPLinear().levels(TIMES), 0, False
    for t, s in itertools.pairwise(levels):
        strong = model(x[None], t, cond[None])
        x0, eps = strong.x0[0], strong.eps[0]
        if not done:
            weak = model(x[None], t, torch.zeros_like(cond[None])).eps[0]
            cosine = (eps @ weak / (eps @ eps).sqrt() / (weak @ weak).sqrt()).item()
            done = cosine > threshold and t.sigma / t.alpha <= high
            guided_steps += 1
            eps = weak + w * (eps - weak)
            x0 = (x - t.sigma * eps) / t.alpha
        x = s.alpha * x0 + s.sigma * eps
    return x, guided_steps


@pytest.mark.parametrize("high", [float("inf"), 0.8])
@pytest.mark.parametrize("scale", [3.0, torch.linspace(0.5, 4.0, 7, dtype=F64)])
def test_every_sample_is_guided_as_if_alone_until_its_branches_agree(scale, high) -> None:
    counted = Counted(Ways())
    method = AdaptiveGuidance(DDIM(CFG(counted, scale, nothing)), 0.96, high)
    found = method.sample(X, TIMES, COND, rng=Rng(0))
    scales = scale.tolist() if isinstance(scale, torch.Tensor) else [scale] * 7
    ends, steps = zip(
        *(by_hand(x, c, w, 0.96, high) for x, c, w in zip(X, COND, scales, strict=True)),
        strict=True,
    )
    torch.testing.assert_close(found, torch.stack(ends), rtol=1e-9, atol=1e-9)
    assert len(set(steps)) > 3, steps  # they do end at different times
    assert counted.calls == 12
    assert counted.rows == 7 * 12 + sum(steps)


def test_guidance_ends_once_and_for_ever() -> None:
    method = AdaptiveGuidance(DDIM(CFG(Ways(), 3.0, nothing)), 0.96)
    flags = torch.stack([s.memory.done for s in method.iterate(X, TIMES, COND, rng=Rng(0))])
    assert (flags[1:] >= flags[:-1]).all()
    # The cosine of sample 2 falls and rises again: others that it passes on its way are done.
    counts = flags.sum(1).tolist()
    assert counts[0] == 2 and counts[-1] == 7 and len(set(counts)) > 3


def test_the_ends_are_cfg_and_one_guided_step() -> None:
    guided = CFG(Ways(), 3.0, nothing)
    never = AdaptiveGuidance(DDIM(guided), 1.0).sample(X, TIMES, COND, rng=Rng(0))
    assert torch.equal(never, DDIM(guided).sample(X, TIMES, COND, rng=Rng(0)))
    at_once = AdaptiveGuidance(DDIM(guided), -1.0).sample(X, TIMES, COND, rng=Rng(0))
    first = DDIM(guided).sample(X, TIMES[:2], COND, rng=Rng(0))
    torch.testing.assert_close(at_once, DDIM(Ways()).sample(first, TIMES[1:], COND, rng=Rng(0)))


def test_flags_are_resampled_with_their_samples_and_lie_above_the_memory_of_the_sampler() -> None:
    method = AdaptiveGuidance(DPMpp2M(CFG(Ways(), 3.0, nothing)), 0.96)
    *_, before, _ = method.iterate(X, TIMES, COND, rng=Rng(0))
    index = torch.tensor([6, 0, 0])
    assert torch.equal(before.take(index).memory.done, before.memory.done[index])
    assert torch.equal(before.take(index).memory.inner.x0, before.memory.inner.x0[index])
    *_, last = Between(method, low=0.2).iterate(X, TIMES, COND, rng=Rng(0))
    assert type(last.memory).__name__ == "Previous"


def test_where_the_contrast_is_off_nothing_is_decided() -> None:
    """Steps outside an interval cost one branch and end nobody's guidance."""
    counted = Counted(Ways())
    low = VPLinear().level(0.2).noise_to_signal
    method = AdaptiveGuidance(DDIM(CFG(counted, interval(3.0, 0.0, low), nothing)), -1.0)
    t, s = VPLinear().levels([0.25, 0.2])
    assert not method.step(State(X), t, s, COND, Rng(0)).memory.done.any()
    assert counted.rows == 7


def test_ops_and_a_finish_work_on_the_rows_that_are_guided() -> None:
    def finish(guided, strong):
        return guided / guided.flatten(1).norm(dim=1)[:, None]

    contrast = Contrast(
        Ways(), [Term(null_branch(nothing), 3.0, ops=(lambda d, a, b: d.tanh(),))], finish
    )
    t, s = VPLinear().levels([0.25, 0.2])
    sampler, done = DDIM(contrast), torch.tensor([True, False] * 3 + [True])
    start = AdaptiveGuidance(sampler, 1.0).step(State(X), t, s, COND, Rng(0)).memory
    state = State(X, memory=start._replace(done=done))
    found = AdaptiveGuidance(sampler, 1.0).step(state, t, s, COND, Rng(0)).x
    guided, plain = (a.step(State(X), t, s, COND, Rng(0)).x for a in (sampler, DDIM(Ways())))
    torch.testing.assert_close(found, torch.where(done[:, None], plain, guided))


def test_masks_of_requests_stay_with_their_requests() -> None:
    """Of four requests two are done, so that the rows that are guided are not the first ones."""
    masks = torch.zeros(4, 2, SIZE, dtype=F64)
    for request in range(4):
        masks[request, 0, : 2 * request + 1] = 1
        masks[request, 1, 2 * request + 1 :] = 1
    x, cond, done = X[:4], COND[:4], torch.tensor([True, False, True, False])
    sampler = DDIM(SCFG(Ways(), 3.0, nothing, masks))
    t, s = VPLinear().levels([0.25, 0.2])
    state = State(x, memory=Agreed(None, done))
    found = AdaptiveGuidance(sampler, 1.0).step(state, t, s, cond, Rng(0)).x
    guided, plain = (a.step(State(x), t, s, cond, Rng(0)).x for a in (sampler, DDIM(Ways())))
    torch.testing.assert_close(found, torch.where(done[:, None], plain, guided))


def drop_after(call: Call, strong: Prediction) -> Call:
    return call._replace(cond=nothing(call.cond))


def test_samplers_without_the_one_contrast_are_refused() -> None:
    toy = Toy(VPLinear())
    with pytest.raises(TypeError, match="needs the two branches of a contrast, got a sampler of T"):
        AdaptiveGuidance(DDIM(toy))
    with pytest.raises(TypeError, match="got a sampler of BetweenDenoise; put the contrast right"):
        AdaptiveGuidance(DDIM(Between(CFG(toy, 2.0, null))))
    with pytest.raises(TypeError, match=r"an interval of levels into its scale, e\.g\. .*interval"):
        AdaptiveGuidance(DDIM(Between(CFG(toy, 2.0, null))))
    still = DDIM(CFGZeroStar(toy, 2.0, null))
    with pytest.raises(TypeError, match=r"\(predictions\), which AdaptiveGuidance would drop"):
        AdaptiveGuidance(still)
    with pytest.raises(TypeError, match=r"\(predictions\), which LinearAG would drop"):
        LinearAG(still, LinearTable((0.9, 0.5, 0.0), {}))
    with pytest.raises(TypeError, match="a contrast with one weak branch, got 2 terms"):
        AdaptiveGuidance(DDIM(NestedCFG(toy, [2.0, 3.0], [null, null])))
    with pytest.raises(TypeError, match="made of the strong call alone, got Contrast"):
        AdaptiveGuidance(DDIM(Contrast(toy, [Term(Following(drop_after), 2.0)])))
    for sampler in (Heun, lambda d: SCG(DDIM(d, eta=1.0), ENERGY)):
        with pytest.raises(TypeError, match="AdaptiveGuidance changes the one prediction of a st"):
            AdaptiveGuidance(sampler(CFG(toy, 2.0, null)))


def test_numbers_out_of_range_are_refused() -> None:
    guided = DDIM(CFG(Toy(VPLinear()), 2.0, null))
    for threshold in (-1.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=r"the threshold of a cosine is in \[-1, 1\], got"):
            AdaptiveGuidance(guided, threshold)
    with pytest.raises(ValueError, match="noise to signal is positive, got high=0"):
        AdaptiveGuidance(guided, 0.9, high=0.0)
    level = Level(0.5, 0.8, 0.6)
    wrong = AdaptiveGuidance(DDIM(CFG(Ways(), torch.ones(2) * 3, nothing)), 0.9)
    with pytest.raises(ValueError, match="a scale per request"):
        wrong.step(State(X), level, Level(0.4, 0.9, 0.4), COND, Rng(0))
