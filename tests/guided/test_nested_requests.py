"""Methods with numbers per request, inside methods that evaluate several branches."""

import pytest
import torch

from guided import CFG, DDIM, Chunked, ClassifierGuidance, Counted, Rng, State, VPLinear
from guided.guidance import (
    AdaptiveGuidance,
    Autoguidance,
    CFGpp,
    ClassAverage,
    HistoryGuidance,
    Momentum,
    NestedCFG,
    vanilla,
)
from guided.guidance.scale import interval
from guided.guidance.step.adaptive import Agreed
from tests.guided.registry import NoisyToy
from tests.guided.rows.network import Worse
from tests.guided.tokens import Tokens, ar1
from tests.guided.toy import Toy, null

F64 = torch.float64
SCHEDULE = VPLinear()
T, S = SCHEDULE.levels([0.5, 0.4])
X = Rng(0).normal((4, 3), F64)
COND = torch.tensor([0.1, 0.9, 0.3, 0.7], dtype=F64)
SCALES = torch.tensor([1.5, 4.0], dtype=F64)  # two requests, two samples each
HALF = torch.tensor([0.2, 0.8], dtype=F64)


def other(cond):
    return 0.3 * cond


INNER = {
    "contrast": lambda d, w: Autoguidance(d, Worse(d), w),
    "interval": lambda d, w: CFG(d, interval(w), other),
    "cfgpp": lambda d, w: CFGpp(d, w / 5, other),
    "classifier": lambda d, w: ClassifierGuidance(d, NoisyToy(), w),
    "deep": lambda d, w: Counted(CFG(CFG(d, w, other), 2.0, null)),
    "weak": lambda d, w: Autoguidance(d, CFG(Worse(d), w, other), 2.0),
}
OUTER = {
    "CFG": lambda d: DDIM(CFG(d, 2.0, null)),
    "CFG++": lambda d: DDIM(CFGpp(d, 0.5, null)),
    "nested": lambda d: DDIM(NestedCFG(d, [2.0, 3.0], [null, other])),
    "average": lambda d: DDIM(ClassAverage(d, lambda c: [c, null(c)], lambda x, t: x[:, :2])),
    "momentum": lambda d: Momentum(DDIM(CFG(d, 2.0, null)), 0.5),
    "adaptive": lambda d: AdaptiveGuidance(DDIM(CFG(d, 2.0, null)), 0.5),
}


def step(sampler, x, cond, memory=None):
    return sampler.step(State(x, memory=memory), T, S, cond, Rng(0)).x


@pytest.mark.parametrize("inner", INNER.values(), ids=INNER.keys())
@pytest.mark.parametrize("outer", OUTER.values(), ids=OUTER.keys())
def test_every_request_is_as_alone(inner, outer):
    found = step(outer(inner(Toy(SCHEDULE), SCALES)), X, COND)
    for rows, scale in ((slice(0, 2), SCALES[0].item()), (slice(2, 4), SCALES[1].item())):
        alone = step(outer(inner(Toy(SCHEDULE), scale)), X[rows], COND[rows])
        torch.testing.assert_close(found[rows], alone)


@pytest.mark.parametrize("scale", [2.0, SCALES], ids=["one", "requests"])
def test_only_numbers_per_request_cost_a_call_a_branch(scale):
    counted = Counted(Toy(SCHEDULE))
    CFG(CFG(counted, scale, other), 3.0, null)(X, T, COND)
    assert (counted.calls, counted.rows) == (1 if scale is not SCALES else 2, 16)


def test_rows_that_are_done_are_not_taken_out_of_a_batch_of_requests():
    done = torch.tensor([True, False, False, True])
    inner = CFG(Toy(SCHEDULE), SCALES, other)
    contrast = CFG(inner, 2.0, null)
    found = step(AdaptiveGuidance(DDIM(contrast), 1.0), X, COND, Agreed(None, done))
    guided, plain = step(DDIM(contrast), X, COND), step(DDIM(inner), X, COND)
    torch.testing.assert_close(found, torch.where(done[:, None], plain, guided))


def test_histories_of_requests_stay_with_their_requests():
    """In CFG, and around CFG with a scale per request."""
    x, known = Rng(1).normal((4, 5, 1), F64), Rng(2).normal((2, 5, 1), F64)
    mask, tokens = torch.arange(5) < 2, Tokens(ar1(5), SCHEDULE)

    class Moved(Tokens):
        def forward(self, x, level, cond=None):
            return super().forward(x + cond[:, None, None], level)

    def inside(known, seed, w):
        net = Moved(ar1(5), SCHEDULE)
        return CFG(HistoryGuidance(net, known, mask, vanilla(2, 2.0), 0.1, seed), 3.0, null)

    def around(known, seed, w):
        net = Moved(ar1(5), SCHEDULE)
        return HistoryGuidance(CFG(net, w, null), known, mask, vanilla(2, 2.0), 0.1, seed)

    assert not HistoryGuidance(tokens, known[:1], mask, vanilla(2, 2.0)).by_place
    for make in (inside, around):
        found = make(known, [7, 8], SCALES)(x, T, COND).x0
        for i in range(2):
            rows = slice(2 * i, 2 * i + 2)
            alone = make(known[i : i + 1], 7 + i, SCALES[i].item())(x[rows], T, COND[rows]).x0
            torch.testing.assert_close(found[rows], alone)


def test_chunks_of_a_batch_of_requests_are_refused():
    with pytest.raises(ValueError, match="rows of one request to another in CFG, which has number"):
        Chunked(CFG(Toy(SCHEDULE), SCALES, null), 2)
    inside = CFG(Chunked(Toy(SCHEDULE), 2), SCALES, null)
    whole = CFG(Toy(SCHEDULE), SCALES, null)
    assert torch.equal(inside(X, T, COND).x0, whole(X, T, COND).x0)
