import math

import pytest
import torch

from guided import CFG, VE, Counted, Heun, VPLinear
from guided.exact import gaussian
from guided.guidance import Autoguidance, together
from guided.schedule import log_snr
from tests.guided.laws import extrapolated
from tests.guided.small_net import assert_same, denoiser, inputs, mixed, no_label
from tests.guided.toy import Toy

F64 = torch.float64
S2, A2, B2, M = 1.0, 0.5, 2.0, 0.4  # the data is N(M, S2); the networks are wider by A2 and B2
RIGHT = 1 + math.log((S2 + A2) / S2) / math.log((S2 + B2) / (S2 + A2))


def wider(by: float):
    return gaussian(torch.tensor([M], dtype=F64), S2 + by)


@pytest.mark.parametrize("w", [0.5, 1.0, RIGHT, 2.5])
def test_the_flow_ends_with_its_known_law(w: float) -> None:
    """Mean M and variance (s^2 + a^2)^w (s^2 + b^2)^(1 - w), that of the data at w*."""
    guided = Autoguidance(wider(A2).denoiser(VE()), wider(B2).denoiser(VE()), w)
    grids = [log_snr(VE(), n, sigma_min=1e-3, sigma_max=80.0) for n in (150, 300)]
    mean, variance = extrapolated(Heun(guided), *grids, wider(A2))
    assert mean == pytest.approx(M, rel=1e-3)
    assert variance == pytest.approx((S2 + A2) ** w * (S2 + B2) ** (1 - w), rel=3e-3)
    if w == RIGHT:
        assert pytest.approx(1.585, abs=1e-3) == w
        assert variance == pytest.approx(S2, rel=3e-3)


def test_the_weak_network_is_given_the_same_condition() -> None:
    net, weak, (x, level, cond) = denoiser(), denoiser(2), inputs()
    counted, small = Counted(net), Counted(weak)
    found = Autoguidance(counted, small, 2.0)(x, level, cond)
    assert_same(found, mixed(net(x, level, cond), weak(x, level, cond), 2.0))
    assert (counted.rows, small.rows) == (4, 4)
    assert_same(Autoguidance(net, net, 2.0)(x, level, cond), net(x, level, cond))
    assert_same(Autoguidance(net, weak, 0.0)(x, level, cond), weak(x, level, cond))


def test_beside_cfg() -> None:
    net, weak, (x, level, cond) = denoiser(), denoiser(2), inputs()
    both = together(CFG(net, 1.5, no_label), Autoguidance(net, weak, 2.0))
    strong, free = net(x, level, cond), net(x, level, no_label(cond))
    worse = weak(x, level, cond)
    expected = strong.x0 + 0.5 * (strong.x0 - free.x0) + (strong.x0 - worse.x0)
    torch.testing.assert_close(both(x, level, cond).x0, expected)


def test_the_weak_network_moves_with_the_strong_one() -> None:
    guided = Autoguidance(denoiser(), denoiser(2), 2.0)
    assert {p.dtype for p in guided.float().parameters()} == {torch.float32}
    assert len(list(guided.weak.parameters())) < len(list(guided.parameters()))


def test_wrong_weak_networks_are_refused() -> None:
    with pytest.raises(ValueError, match="the weak network has the schedule VE"):
        Autoguidance(Toy(VPLinear()), Toy(VE()), 2.0)
    with pytest.raises(TypeError, match="a weak network is a Denoiser, got Linear"):
        Autoguidance(Toy(VPLinear()), torch.nn.Linear(2, 2), 2.0)
