"""The U-Net: shapes, its start at zero, the torus, and what it refuses."""

import pytest
import torch
from torch.nn.functional import group_norm

from guided import Rng
from guided.nets import AttentionControl, Control, Skip, UNet
from guided.rng import initial_weights


def woken(net: UNet, seed: int = 0) -> UNet:
    """Give weights to the layers that start at zero."""
    rng = Rng(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.05 * rng.normal(parameter.shape))
    return net


@pytest.mark.parametrize(("patch", "size"), [(1, (8, 12)), (2, (16, 8))])
def test_it_keeps_the_shape_and_starts_as_zero(patch: int, size: tuple[int, int]) -> None:
    net = UNet(3, widths=(8, 16), depth=1, patch=patch)
    x = Rng(0).normal((2, 3, *size))
    time = torch.tensor([0.1, 0.9])
    out = net(x, time)
    assert out.shape == x.shape and (out == 0).all()
    assert (woken(net)(x, time) != 0).any()


def test_on_a_torus_it_moves_with_the_field() -> None:
    net = woken(UNet(1, widths=(8, 16), depth=1, patch=2, periodic=True))
    x, time = Rng(1).normal((2, 1, 16, 16)), torch.tensor([0.2, 0.7])
    shift = (4, 8)  # whole patches of the lowest level
    moved = net(x.roll(shift, (-2, -1)), time)
    torch.testing.assert_close(moved, net(x, time).roll(shift, (-2, -1)), rtol=1e-4, atol=1e-4)
    flat = woken(UNet(1, widths=(8, 16), depth=1, patch=2))
    gap = flat(x.roll(shift, (-2, -1)), time) - flat(x, time).roll(shift, (-2, -1))
    assert gap.abs().max() > 0.01


def test_it_sees_background_level_and_label() -> None:
    background = Rng(2).normal((2, 8, 8))
    net = woken(UNet(1, widths=(8,), depth=1, labels=3, background=background))
    x, time = Rng(3).normal((2, 1, 8, 8)), torch.tensor([0.3, 0.3])
    out = net(x, time, torch.tensor([0, 1]))
    assert not torch.allclose(out, net(x, time, torch.tensor([0, 2])))
    assert torch.equal(net(x, time), net(x, time, torch.tensor([3, 3])))
    assert not torch.allclose(out, net(x, time + 0.5, torch.tensor([0, 1])))
    net.background = background.flip(0)
    assert not torch.allclose(out, net(x, time, torch.tensor([0, 1])))


def test_samples_of_a_batch_do_not_see_each_other() -> None:
    net = woken(UNet(1, widths=(8, 8), depth=1))
    x, time = Rng(4).normal((3, 1, 8, 8)), torch.tensor([0.1, 0.5, 0.9])
    torch.testing.assert_close(net(x, time)[1:2], net(x[1:2], time[1:2]), rtol=1e-4, atol=1e-5)


def with_attention() -> tuple[UNet, torch.Tensor, torch.Tensor]:
    """A network whose attention matters, x and the time."""
    net = woken(UNet(1, widths=(8, 16), depth=1, attention=2))
    return net, Rng(5).normal((2, 1, 8, 8)), torch.tensor([0.1, 0.9])


def test_without_attention_nothing_changes_and_with_it_the_start_is_the_same() -> None:
    with initial_weights(0):
        plain = UNet(1, widths=(8, 16), depth=1)
    with initial_weights(0):
        net = UNet(1, widths=(8, 16), depth=1, attention=2)
    own = net.state_dict()
    assert all(torch.equal(own[name], value) for name, value in plain.state_dict().items())
    assert plain.layers == 0 and net.layers == 1
    woken(plain)
    net.load_state_dict(plain.state_dict(), strict=False)
    x, time = Rng(6).normal((2, 1, 8, 8)), torch.tensor([0.1, 0.9])
    assert torch.equal(net(x, time), plain(x, time))  # attention starts as the identity


def test_the_attention_is_that_of_pytorch_over_the_pixels() -> None:
    net, _, _ = with_attention()
    block, width = net.attention, 16
    judge = torch.nn.MultiheadAttention(width, 2, batch_first=True)
    with torch.no_grad():
        judge.in_proj_weight.copy_(block.qkv.weight[..., 0, 0])
        judge.in_proj_bias.copy_(block.qkv.bias)
        judge.out_proj.weight.copy_(block.merge.weight[..., 0, 0])
        judge.out_proj.bias.copy_(block.merge.bias)
    x = Rng(7).normal((3, width, 4, 5))
    tokens = group_norm(x, 2, block.norm.weight, block.norm.bias).flatten(2).mT
    expected = x + judge(tokens, tokens, tokens)[0].mT.reshape(x.shape)
    torch.testing.assert_close(block(x, None), expected, rtol=1e-4, atol=1e-5)


def test_a_control_acts_on_the_attention_as_layer_0() -> None:
    net, x, time = with_attention()
    out, layer = net(x, time), frozenset({0})
    assert torch.equal(net(x, time, control=Control()), out)
    uniform = net(x, time, control=Control(AttentionControl(layer, "uniform")))
    assert not torch.allclose(uniform, out, atol=1e-4)
    flat = net(x, time, control=Control(AttentionControl(layer, "scale", 0.0)))
    torch.testing.assert_close(flat, uniform)
    blurred = net(x, time, control=Control(AttentionControl(layer, "blur", 1e-3)))
    torch.testing.assert_close(blurred, out)  # a sigma far below one token
    skipped = net(x, time, control=Control(skip=Skip(layer)))
    bare = woken(UNet(1, widths=(8, 16), depth=1))
    bare.load_state_dict({k: v for k, v in net.state_dict().items() if k in bare.state_dict()})
    torch.testing.assert_close(skipped, bare(x, time))
    other = net(x, time, control=Control(embedding=torch.zeros_like))
    assert not torch.allclose(other, out, atol=1e-4)


def test_a_control_of_no_layer_is_refused() -> None:
    net, x, time = with_attention()
    with pytest.raises(ValueError, match="has blocks 0 to 0"):
        net(x, time, control=Control(AttentionControl(frozenset({1}))))
    with pytest.raises(ValueError, match="has none that a control acts on"):
        UNet(1, widths=(8,))(x, time, control=Control(AttentionControl(frozenset({0}))))


def test_it_refuses_bad_input() -> None:
    with pytest.raises(ValueError, match="multiples of 8"):
        UNet(1, widths=(12,))
    with pytest.raises(ValueError, match="the heads must divide the lowest level's 8 channels"):
        UNet(1, widths=(8,), attention=3)
    net = UNet(1, widths=(8, 8), patch=2)
    with pytest.raises(ValueError, match="sides that 4"):
        net(torch.zeros(1, 1, 10, 8), torch.zeros(1))
    with pytest.raises(ValueError, match="no labels"):
        net(torch.zeros(1, 1, 8, 8), torch.zeros(1), torch.zeros(1, dtype=torch.long))
