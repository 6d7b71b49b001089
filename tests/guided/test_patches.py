"""The transformer over patches: where pixels go, its start at zero, and what it refuses."""

import pytest
import torch
from torch import Tensor

from guided import Rng
from guided.nets import AttentionControl, Control, Maps, PatchTransformer


def woken(net: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Give weights to the layers that start at zero."""
    rng = Rng(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.05 * rng.normal(parameter.shape))
    return net


def by_hand(x: Tensor, p: int) -> Tensor:
    """Cut images (B, C, H, W) into tokens (B, R K, C p p), patch by patch."""
    _, _, height, width = x.shape
    patches = [
        x[:, :, top : top + p, left : left + p].flatten(1)
        for top in range(0, height, p)
        for left in range(0, width, p)
    ]
    return torch.stack(patches, dim=1)


@pytest.mark.parametrize(("channels", "size", "patch"), [(1, (8, 8), 2), (3, (6, 12), 3)])
def test_it_is_the_transformer_of_the_patches(channels, size, patch) -> None:
    net = woken(PatchTransformer(channels, size, patch, width=16, depth=2, heads=2, labels=3))
    x, time = Rng(0).normal((2, channels, *size)), torch.tensor([0.1, 0.9])
    cond = torch.tensor([1, 3])
    out = net(x, time, cond)
    assert out.shape == x.shape
    assert net.grid == (size[0] // patch, size[1] // patch)
    tokens = net.tokens(by_hand(x, patch), time, cond)
    torch.testing.assert_close(by_hand(out, patch), tokens)


def test_the_phase_of_a_token_is_its_column_and_the_cycle_its_row() -> None:
    net = PatchTransformer(1, (4, 6), 2, width=16, depth=1, heads=2)
    places = net.tokens._places(torch.zeros(1, 6, 4))
    for token in range(6):
        row, column = divmod(token, 3)
        expected = net.tokens.phase.weight[column] + net.tokens.cycle.weight[row]
        torch.testing.assert_close(places[token], expected)


def test_it_starts_as_zero_and_sees_level_and_label() -> None:
    net = PatchTransformer(1, (4, 4), 2, width=16, depth=1, heads=2, labels=2)
    x, time = Rng(1).normal((2, 1, 4, 4)), torch.tensor([0.3, 0.3])
    assert (net(x, time) == 0).all()
    woken(net)
    out = net(x, time, torch.tensor([0, 1]))
    assert not torch.allclose(out[1], net(x, time, torch.tensor([0, 0]))[1])
    assert torch.equal(net(x, time), net(x, time, torch.tensor([2, 2])))
    assert not torch.allclose(out, net(x, time + 0.5, torch.tensor([0, 1])))
    torch.testing.assert_close(out[:1], net(x[:1], time[:1], torch.tensor([0])))


def test_it_refuses_bad_input() -> None:
    with pytest.raises(ValueError, match="a patch must divide both sides"):
        PatchTransformer(1, (8, 9), 2)
    with pytest.raises(ValueError, match="multiple of 2"):
        PatchTransformer(1, (8, 8), 2, width=10, heads=4)
    net = PatchTransformer(1, (8, 8), 2, width=16, depth=1, heads=2)
    with pytest.raises(ValueError, match=r"shape \(B, 1, 8, 8\), got \(2, 1, 8, 10\)"):
        net(torch.zeros(2, 1, 8, 10), torch.zeros(2))
    with pytest.raises(ValueError, match="no labels"):
        net(torch.zeros(1, 1, 8, 8), torch.zeros(1), torch.zeros(1, dtype=torch.long))


def test_a_control_reaches_the_blocks_with_the_grid_of_the_patches() -> None:
    net = woken(PatchTransformer(1, (4, 6), 2, width=16, depth=2, heads=2))
    x, time = Rng(2).normal((2, 1, 4, 6)), torch.tensor([0.2, 0.7])
    maps = Maps(frozenset({1}))
    assert torch.equal(net(x, time, control=Control()), net(x, time))
    torch.testing.assert_close(net(x, time, control=Control(maps=maps)), net(x, time))
    assert maps.grid == (2, 3) and maps.found[1].shape == (2, 2, 6, 6)
    blur = Control(AttentionControl(frozenset({0}), "blur", 1.0))
    expected = net.tokens(by_hand(x, 2), time, control=blur, grid=(2, 3))
    torch.testing.assert_close(by_hand(net(x, time, control=blur), 2), expected)
    in_a_row = net.tokens(by_hand(x, 2), time, control=blur)
    assert not torch.allclose(expected, in_a_row)
    assert net.layers == 2
    with pytest.raises(ValueError, match="blocks 0 to 1"):
        net(x, time, control=Control(AttentionControl(frozenset({2}))))
