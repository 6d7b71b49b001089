import pytest
import torch

from guided import VE, Heun, RectifiedFlow, Rng, VPLinear
from guided.exact import gaussian
from guided.guidance import TSG, SigmaShift
from guided.guidance.denoise.sigma_shift import Shifted
from guided.nets import Control
from guided.rng import stream_seed
from guided.schedule import Level, log_snr
from tests.guided.laws import extrapolated
from tests.guided.small_net import assert_same, denoiser, inputs, mixed
from tests.guided.toy import Toy

F64 = torch.float64


# TSG


def test_tsg_adds_one_noise_a_level_to_the_embedding() -> None:
    net, (x, level, cond) = denoiser(), inputs()
    n = Rng(stream_seed(5, round(level.t * 2**40))).normal((24,)).double()
    control = Control(embedding=lambda e: e + 0.3 * level.t**2 * n)
    weak = net.controlled(x, level, cond, control)
    found = TSG(net, 2.0, noise=0.3, power=2.0, seed=5)(x, level, cond)
    assert_same(found, mixed(net(x, level, cond), weak, 2.0))
    assert (found.x0 - net(x, level, cond).x0).abs().max() > 1e-3


def test_tsg_is_a_function_of_the_level_and_of_its_seed() -> None:
    net, (x, level, cond) = denoiser(), inputs()
    guided = TSG(net, 2.0)
    first = guided(x, level, cond)
    guided(x, VPLinear().level(0.41), cond)
    assert_same(guided(x, level, cond), first)
    alone = guided(x[2:3], level, cond[2:3])
    assert_same(alone, (first.x0[2:3], first.eps[2:3]))
    assert (TSG(net, 2.0, seed=1)(x, level, cond).x0 - first.x0).abs().max() > 1e-3


def test_without_noise_tsg_is_the_network() -> None:
    net, (x, level, cond) = denoiser(), inputs()
    assert_same(TSG(net, 3.0, noise=0.0)(x, level, cond), net(x, level, cond))


def test_to_first_order_opposite_noises_cancel() -> None:
    """So the mean over the noise is of second order in it."""
    net, (x, level, cond) = denoiser(), inputs()
    plain = net(x, level, cond).x0
    up, down = (TSG(net, 2.0, noise=s)(x, level, cond).x0 - plain for s in (1e-4, -1e-4))
    assert up.norm() > 1e-5
    assert (up + down).norm() < 1e-3 * up.norm()


def test_levels_of_tensors_and_bare_networks_are_refused() -> None:
    net, (x, level, cond) = denoiser(), inputs()
    level = Level(*(torch.full((4, 1, 1), v, dtype=F64) for v in level))
    with pytest.raises(ValueError, match=r"TSG draws once for a level.* tensor of \(4, 1, 1\)"):
        TSG(net, 2.0)(x, level, cond)
    with pytest.raises(ValueError, match=r"one time for all rows, got a tensor of \(4, 1, 1\)"):
        SigmaShift(net, 2.0)(x, level, cond)
    with pytest.raises(TypeError, match="TSG acts inside the network, but Toy has no blocks"):
        TSG(Toy(VPLinear()), 2.0)


# The shifted noise level


@pytest.mark.parametrize("shift", [0.3, -0.3])
def test_a_shift_is_the_estimate_at_another_ratio_of_noise(shift: float) -> None:
    m, v = 0.4, 0.8
    law = gaussian(torch.tensor([m], dtype=F64), v)
    for schedule in (VPLinear(), RectifiedFlow(), VE()):
        level = schedule.level(0.6)
        x = torch.linspace(-2, 3, 7, dtype=F64)[:, None]
        ratio, clean = level.noise_to_signal * (1 + shift), x / level.alpha
        expected = m + v / (v + ratio**2) * (clean - m)
        found = Shifted(law.denoiser(schedule), shift)(x, level)
        torch.testing.assert_close(found.x0, expected)
        torch.testing.assert_close(x, level.alpha * found.x0 + level.sigma * found.eps)


@pytest.mark.parametrize(("scale", "shift"), [(3.0, 0.2), (3.0, -0.2), (0.5, 0.2), (1.0, 0.2)])
def test_the_flow_under_a_shift_ends_with_its_known_variance(scale: float, shift: float) -> None:
    """v (1 + shift)^(2 (w - 1)): up spreads out, down draws together."""
    law = gaussian(torch.tensor([0.4], dtype=F64), 0.8)
    grids = [log_snr(VE(), n, sigma_min=1e-3, sigma_max=60.0) for n in (150, 300)]
    guided = SigmaShift(law.denoiser(VE()), scale, shift)
    mean, variance = extrapolated(Heun(guided), *grids, law)
    assert mean == pytest.approx(0.4, rel=1e-3)
    assert variance == pytest.approx(0.8 * (1 + shift) ** (2 * (scale - 1)), rel=5e-3)


def test_at_pure_noise_there_is_nothing_to_shift() -> None:
    toy, x = Toy(RectifiedFlow()), torch.ones(2, 3, dtype=F64)
    level = RectifiedFlow().level(1.0)
    found, plain = Shifted(toy, 0.5)(x, level), toy(x, level)
    assert torch.equal(found.x0, plain.x0) and torch.equal(found.eps, plain.eps)


@pytest.mark.parametrize("shift", [-1.0, float("nan"), float("inf")])
def test_a_wrong_shift_is_refused(shift: float) -> None:
    with pytest.raises(ValueError, match="a shift of the noise level is above -1, got"):
        SigmaShift(Toy(VPLinear()), 2.0, shift)
