"""Wrappers that change how a denoiser is evaluated, not what it predicts."""

import pytest
import torch

from guided import DDIM, Autocast, Chunked, Counted, NetDenoiser, Rng, VPLinear
from guided.nets import MLP
from guided.schedule import uniform
from tests.guided.toy import Toy


def test_chunks_change_nothing_and_the_remainder_is_evaluated() -> None:
    x, cond = Rng(0).normal((7, 3)), torch.linspace(0, 1, 7)
    level = VPLinear().level(torch.linspace(0.1, 0.9, 7)[:, None])
    toy = Counted(Toy(VPLinear()))
    for whole, part in zip(toy(x, level, cond), Chunked(toy, 3)(x, level, cond), strict=True):
        assert torch.equal(whole, part)
    assert (toy.calls, toy.rows) == (4, 14)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        Chunked(toy, 0)


@pytest.mark.parametrize("prediction", ["x0", "eps", "v", "flow"])
def test_half_precision_is_near_and_keeps_the_type_of_x(prediction: str) -> None:
    torch.manual_seed(0)
    net = NetDenoiser(MLP(4, 4), VPLinear(), prediction).requires_grad_(False)
    x, level = Rng(0).normal((5, 4)), VPLinear().level(0.3)
    for full, half in zip(net(x, level), Autocast(net)(x, level), strict=True):
        assert half.dtype == torch.float32
        assert not torch.equal(full, half)
        torch.testing.assert_close(half, full, rtol=0.02, atol=0.02)


def test_half_precision_holds_over_a_run() -> None:
    torch.manual_seed(0)
    net = NetDenoiser(MLP(4, 4), VPLinear(), "v").requires_grad_(False)
    times, x = uniform(10), Rng(0).normal((5, 4))
    full = DDIM(net).sample(x, times, rng=Rng(0))
    half = DDIM(Autocast(net)).sample(x, times, rng=Rng(0))
    torch.testing.assert_close(half, full, rtol=0.05, atol=0.05)


def test_half_precision_is_one_of_two() -> None:
    with pytest.raises(ValueError, match=r"bfloat16 or torch.float16, got torch.float64"):
        Autocast(Toy(VPLinear()), torch.float64)
