"""Methods that draw from the kernel of a sampler refuse those whose step is more than that."""

import pytest
import torch

from guided import CFG, DDPM, SCG, TDS, Between, Operator, StepWrapper, VPLinear
from guided.guidance import (
    CPS,
    DPS,
    AdaptiveGuidance,
    LinearAG,
    LinearTable,
    PastGuidance,
    PredictorCorrector,
)
from tests.guided.registry import ENERGY
from tests.guided.toy import Toy, null


@pytest.mark.parametrize(
    "inner",
    [
        lambda d: AdaptiveGuidance(DDPM(CFG(d, 2.0, null))),
        lambda d: LinearAG(DDPM(CFG(d, 2.0, null)), LinearTable((0.9, 0.5, 0.0), {})),
        lambda d: PastGuidance(DDPM(d), 2.0),
        lambda d: PredictorCorrector(DDPM(d), CFG(d, 2.0, null)),
        lambda d: Between(SCG(DDPM(d), ENERGY)),
        lambda d: DPS(DDPM(d), ENERGY),
    ],
)
def test_methods_that_draw_from_the_kernel_leave_no_step_out(inner) -> None:
    sampler = inner(Toy(VPLinear()))
    operator = Operator(lambda x0: x0[:, :1], torch.zeros(1, 1), 1.0)
    for method in (SCG, CPS, lambda s, e: TDS(s, e, 2)):
        with pytest.raises(ValueError, match="give it a plain one, such as DDIM") as e:
            method(sampler, operator)
        assert f"leave out what {type(sampler).__name__} does" in str(e.value)
    assert StepWrapper(DDPM(Toy(VPLinear()))).steps_by_kernel
    assert not StepWrapper(sampler).steps_by_kernel
