"""Past guidance against its formula, and what it is in short steps."""

import itertools

import pytest
import torch

from guided import CFG, DDIM, SCG, DPMpp2M, Heun, Rng, VPLinear
from guided.guidance import Between, PastGuidance
from guided.sampler import State
from guided.schedule import uniform
from tests.guided.registry import ENERGY
from tests.guided.toy import Toy, null

F64 = torch.float64
X = Rng(0).normal((6, 3), F64)
COND = torch.linspace(0.1, 0.9, 6, dtype=F64)


def by_hand(denoiser, x, times, w, decay, change=lambda push, here, past: push):
    """The method written out for DDIM: eps follows from the moved x0."""
    levels, past = VPLinear().levels(times), None
    for t, s in itertools.pairwise(levels):
        here = denoiser(x, t, COND).x0
        x0 = here if past is None else here + (w - 1) * change(here - past, here, past)
        eps = (x - t.alpha * x0) / t.sigma
        past = here if past is None else decay * past + (1 - decay) * here
        x = s.alpha * x0 + s.sigma * eps
    return x


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("w", [2.0, 0.5, torch.tensor([1.0, 2.0, 3.0], dtype=F64)])
def test_a_run_is_its_formula(w, decay) -> None:
    toy, times = CFG(Toy(VPLinear()), 2.0, null), uniform(7, start=0.99)
    found = PastGuidance(DDIM(toy), w, decay).sample(X, times, COND, rng=Rng(0))
    rows = w.repeat_interleave(2)[:, None] if isinstance(w, torch.Tensor) else w
    torch.testing.assert_close(found, by_hand(toy, X, times, rows, decay))


def test_ops_see_the_difference_the_estimate_and_its_past() -> None:
    def half_where_it_grew(push, here, past):
        return torch.where(here > past, push / 2, push)

    toy, times = Toy(VPLinear()), uniform(5, start=0.99)
    method = PastGuidance(DDIM(toy), 2.0, 0.3, ops=(half_where_it_grew, lambda d, a, b: -d))
    found = method.sample(X, times, COND, rng=Rng(0))
    expected = by_hand(toy, X, times, 2.0, 0.3, lambda d, a, b: -half_where_it_grew(d, a, b))
    torch.testing.assert_close(found, expected)


def test_a_scale_may_depend_on_the_level() -> None:
    toy, times = Toy(VPLinear()), uniform(6, start=0.99)
    early = PastGuidance(DDIM(toy), lambda level: 2.0 if level.t > 0.5 else 1.0)
    found = early.sample(X, times, COND, rng=Rng(0))
    assert not torch.allclose(found, DDIM(toy).sample(X, times, COND, rng=Rng(0)))
    assert not torch.allclose(
        found, PastGuidance(DDIM(toy), 2.0).sample(X, times, COND, rng=Rng(0))
    )


def test_the_push_vanishes_as_one_over_the_number_of_steps() -> None:
    toy, pushes = Toy(VPLinear()), []
    for n in (100, 200, 400):
        times = uniform(n, start=0.99)
        pushed = PastGuidance(DDIM(toy), 2.0).sample(X, times, COND, rng=Rng(0))
        pushes.append((pushed - DDIM(toy).sample(X, times, COND, rng=Rng(0))).norm().item())
    assert pushes[0] / pushes[1] == pytest.approx(2, rel=0.15)
    assert pushes[1] / pushes[2] == pytest.approx(2, rel=0.15)


def test_it_begins_anew_where_an_interval_begins_and_leaves_a_multistep_memory_behind() -> None:
    inner = DPMpp2M(Toy(VPLinear()))
    method = Between(PastGuidance(inner, 2.0), low=1.0)
    *_, last = method.iterate(X, uniform(8, start=0.99), COND, rng=Rng(0))
    assert type(last.memory).__name__ == "Previous"
    memory = PastGuidance(inner, 2.0).step(State(X), *VPLinear().levels([0.5, 0.4]), COND, Rng(0))
    taken = memory.take(torch.tensor([2, 2])).memory
    assert torch.equal(taken.mean, memory.memory.mean[[2, 2]])


def test_mistakes_are_refused() -> None:
    toy = Toy(VPLinear())
    with pytest.raises(ValueError, match=r"a running mean is in \[0, 1\), got 1"):
        PastGuidance(DDIM(toy), 2.0, decay=1.0)
    with pytest.raises(ValueError, match="PastGuidance needs a finite scale"):
        PastGuidance(DDIM(toy), float("nan"))
    for sampler in (Heun(toy), SCG(DDIM(toy, eta=1.0), ENERGY)):
        with pytest.raises(TypeError, match="PastGuidance changes the one prediction of a step"):
            PastGuidance(sampler, 2.0)
