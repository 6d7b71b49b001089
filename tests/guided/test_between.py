"""Between: an interval of noise levels for any method, with what the sampler remembers kept."""

import pytest
import torch

from guided import (
    CFG,
    DDIM,
    DDPM,
    SCG,
    Between,
    Counted,
    DPMpp2M,
    FunctionEnergy,
    Operator,
    Rng,
    VPLinear,
)
from guided.guidance import DPG, SMC, TDS, ZeroOrderDPS
from guided.sampler import Sampler, StepWrapper
from guided.samplers.dpmpp import Previous
from guided.schedule import uniform
from tests.guided.registry import ENERGY
from tests.guided.toy import Toy, null

TIMES = uniform(12, start=0.99)
OPERATOR = Operator(lambda x: x[:, :1], torch.tensor([[1.0]]), 0.5)


def run(sampler: Sampler, seed: int = 0) -> torch.Tensor:
    rng = Rng(seed)
    return sampler.sample(sampler.initial((8, 2), TIMES, rng), TIMES, rng=rng)


@pytest.mark.parametrize("method", [DPG, ZeroOrderDPS])
def test_a_method_that_remembers_can_be_limited(method: type[StepWrapper]) -> None:
    """The multistep sampler below it keeps its memory where the method starts and stops."""
    sampler = DPMpp2M(Toy(VPLinear()), eta=1.0)
    whole = run(method(sampler, OPERATOR))
    middle = run(Between(method(sampler, OPERATOR), low=0.3, high=3.0))
    assert middle.isfinite().all()
    assert not torch.equal(middle, whole) and not torch.equal(middle, run(sampler))
    assert torch.equal(run(Between(method(sampler, OPERATOR))), whole)
    assert torch.equal(run(Between(method(sampler, OPERATOR), low=1.0, high=1.0)), run(sampler))
    # Above the interval and below it steps are the sampler's own, of second order as ever.
    *_, last = Between(method(sampler, OPERATOR), low=0.3).iterate(
        sampler.initial((8, 2), TIMES, Rng(0)), TIMES, rng=Rng(1)
    )
    assert isinstance(last.memory, Previous)


@pytest.mark.parametrize("method", [SMC, TDS])
def test_a_method_that_counts_on_all_steps_is_refused(method: type[SMC]) -> None:
    energy = FunctionEnergy(lambda x: x.square().sum(1))
    with pytest.raises(TypeError, match=f"{method.__name__} weighs particles from the first step"):
        Between(method(DDPM(Toy(VPLinear())), energy, 4), low=0.3)


def test_an_interval_in_an_interval_is_their_intersection() -> None:
    inner = Between(SCG(DDPM(Toy(VPLinear())), ENERGY, candidates=3), low=0.2)
    both = Between(SCG(DDPM(Toy(VPLinear())), ENERGY, candidates=3), low=0.2, high=2.0)
    assert torch.equal(run(Between(inner, high=2.0)), run(both))
    toy = Counted(Toy(VPLinear()))
    x, cond = torch.ones(3, 2), torch.full((3,), 0.9)
    guided = Between(Between(CFG(toy, 2.0, null), low=0.2), high=2.0)
    for ratio, rows in ((0.1, 3), (1.0, 6), (3.0, 3)):
        toy.reset()
        guided(x, VPLinear().level(VPLinear().time(ratio)), cond)
        assert toy.rows == rows
    assert torch.equal(run(DDIM(Between(CFG(toy, 2.0, null), 1.0, 1.0))), run(DDIM(toy)))
