import pytest
import torch

from guided import Counted
from guided.guidance import STG, FactorisedSTG
from guided.nets import Control, Skip
from tests.guided.small_net import assert_same, denoiser, inputs, mixed


def without(net, x, level, cond, *layers: int, keep: float = 0.0):
    return net.controlled(x, level, cond, Control(skip=Skip(frozenset(layers), keep)))


@pytest.mark.parametrize("keep", [0.0, 0.6])
def test_stg_is_its_formula_and_skips_a_block_in_the_middle(keep: float) -> None:
    for depth, middle in ((3, 1), (4, 2), (6, 3)):
        net, (x, level, cond) = denoiser(depth), inputs()
        weak = without(net, x, level, cond, middle, keep=keep)
        expected = mixed(net(x, level, cond), weak, 2.5)
        assert_same(STG(net, 2.5, keep=keep)(x, level, cond), expected)


def test_what_is_kept_or_does_nothing_gives_no_delta() -> None:
    net, (x, level, cond) = denoiser(), inputs()
    plain = net(x, level, cond)
    assert_same(STG(net, 3.0, keep=1.0)(x, level, cond), plain)
    for layer in (net.net.blocks[1].merge, net.net.blocks[1].down):
        layer.weight.zero_(), layer.bias.zero_()
    assert_same(STG(net, 3.0)(x, level, cond), net(x, level, cond))


def test_a_network_without_a_middle_needs_a_choice() -> None:
    net, (x, level, cond) = denoiser(2), inputs()
    with pytest.raises(ValueError, match=r"but the network has 2; name the layers, and keep"):
        STG(net, 2.0)
    weak = without(net, x, level, cond, 1, keep=0.5)
    found = STG(net, 2.0, layers=1, keep=0.5)(x, level, cond)
    assert_same(found, mixed(net(x, level, cond), weak, 2.0))
    with pytest.raises(ValueError, match=r"is kept is in \[0, 1\], got 2"):
        STG(net, 2.0, layers=1, keep=2.0)


def test_the_second_push_is_orthogonal_to_the_first_sample_by_sample() -> None:
    net, (x, level, cond) = denoiser(), inputs()
    first = net(x, level, cond).x0 - without(net, x, level, cond, 0).x0
    base = STG(net, 2.0, 0)(x, level, cond)
    rest = FactorisedSTG(net, (2.0, 3.0), (0, 2))(x, level, cond).x0 - base.x0
    cosine = torch.cosine_similarity(rest.flatten(1), first.flatten(1))
    assert cosine.abs().max() < 1e-9 and rest.flatten(1).norm(dim=1).min() > 1e-3


def test_factorised_stg_is_its_formula() -> None:
    net, (x, level, cond) = denoiser(), inputs()
    plain = net(x, level, cond)
    one, two = (plain.x0 - without(net, x, level, cond, k).x0 for k in (0, 2))
    for row in range(4):
        a, b = one[row], two[row]
        two[row] = b - (a * b).sum() / a.square().sum() * a
    counted = Counted(net)
    found = FactorisedSTG(counted, (2.5, 4.0), (0, [2]))(x, level, cond)
    assert (counted.calls, counted.rows) == (1, 12)
    torch.testing.assert_close(found.x0, plain.x0 + 1.5 * one + 3 * two)
    torch.testing.assert_close(x, level.alpha * found.x0 + level.sigma * found.eps)


def test_factorised_stg_with_one_neutral_scale_is_stg() -> None:
    net, (x, level, cond) = denoiser(), inputs()
    for scales, layer in (((1.0, 2.0), 2), ((2.0, 1.0), 0)):
        found = FactorisedSTG(net, scales, (0, 2))(x, level, cond)
        assert_same(found, STG(net, 2.0, layer)(x, level, cond))
    with pytest.raises(ValueError, match="needs two scales and two sets of layers, got 1 and 2"):
        FactorisedSTG(net, (2.0,), (0, 2))
