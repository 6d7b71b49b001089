import pytest
import torch

from guided import CFG, Chunked, Counted, NetDenoiser, RectifiedFlow, VPLinear
from guided.guidance import PAG, SAG, blurred_rows, together
from guided.guidance.branches import Call, received
from guided.guidance.tokens import laid, saliency
from guided.nets import Control, Maps
from guided.nets.patches import PatchTransformer
from guided.rng import initial_weights
from tests.guided.draws import normal
from tests.guided.small_net import LEVEL, assert_same, denoiser, inputs, no_label
from tests.guided.test_control import gaussian_matrix
from tests.guided.toy import ControlToy, Toy


def by_hand(net, w: float, layer: int, sigma: float, x, level, cond):
    """The source's algorithm, from the maps of a plain call."""
    maps = Maps(frozenset({layer}))
    plain = net.controlled(x, level, cond, Control(maps=maps))
    mask = maps.found[layer].mean(1).sum(1) > 1
    assert 0.2 < mask.double().mean() < 0.8
    blurred = torch.einsum("ij,bjc->bic", gaussian_matrix(x.shape[1], sigma), plain.x0)
    worse = torch.where(mask[..., None], blurred, plain.x0)
    eps = net(level.alpha * worse + level.sigma * plain.eps, level, cond).eps
    return plain, eps + w * (plain.eps - eps)


def test_sag_is_the_algorithm_of_its_source() -> None:
    net, (x, level, cond) = denoiser(), inputs()
    for layer, sigma, given in ((1, 3.0, {}), (2, 1.5, {"blur": blurred_rows(1.5, [1])})):
        plain, eps = by_hand(net, 1.8, layer, sigma, x, level, cond)
        guided = SAG(net, 1.8, layer if given else None, **given)
        found = guided(x, level, cond)
        torch.testing.assert_close(found.eps, eps)
        torch.testing.assert_close(x, level.alpha * found.x0 + level.sigma * found.eps)
        assert (found.x0 - plain.x0).abs().max() > 1e-3


def test_sag_costs_a_second_call_that_follows_the_first() -> None:
    counted, (x, level, cond) = Counted(denoiser()), inputs()
    SAG(counted, 1.8)(x, level, cond)
    assert (counted.calls, counted.rows) == (2, 8)
    counted.reset()
    found = SAG(counted, 1.0)(x, level, cond)
    assert (counted.calls, counted.rows) == (1, 4)
    plain = denoiser()(x, level, cond)
    assert torch.equal(found.x0, plain.x0) and torch.equal(found.eps, plain.eps)


def test_even_attention_or_a_blur_that_does_nothing_give_no_delta() -> None:
    net, (x, level, cond) = denoiser(), inputs()
    plain = net(x, level, cond)
    assert_same(SAG(net, 3.0, blur=lambda x0: x0)(x, level, cond), plain, 1e-9)
    net.net.blocks[1].gain.zero_()  # queries and keys are 0, every token sees all alike
    for tokens in (10, 7, 3, 2):
        x, level, cond = inputs(tokens=tokens)
        assert_same(SAG(net, 3.0, layer=1)(x, level, cond), net(x, level, cond), 1e-9)


def test_on_an_affine_denoiser_it_is_its_closed_form() -> None:
    """eps = k x + b: the push is k (x - x~) = -k alpha M (blur(x0) - x0)."""
    toy, x = Toy(RectifiedFlow()), normal(5, 6)
    level = RectifiedFlow().level(0.3)
    ends = [toy(torch.full((1, 1), v, dtype=x.dtype), level).eps.item() for v in (0.0, 1.0)]
    x0, mask = toy(x, level).x0, x.softmax(-1) * 6 > 1
    guided = SAG(
        ControlToy(toy), 2.5, blur=lambda x0: 0.5 * x0, spread=lambda a, grid, x: a.reshape(x.shape)
    )
    push = (ends[1] - ends[0]) * level.alpha * mask * 0.5 * x0
    torch.testing.assert_close(guided(x, level).eps, toy(x, level).eps + 1.5 * push)


@pytest.mark.parametrize("size", [1, 3])
def test_sag_in_chunks_is_sag(size: int) -> None:
    net, (x, level, cond) = denoiser(), inputs()
    assert_same(SAG(Chunked(net, size), 2.0)(x, level, cond), SAG(net, 2.0)(x, level, cond))


def test_beside_cfg_the_conditional_branch_is_watched() -> None:
    net, (x, level, cond) = denoiser(), inputs()
    plain, free = net(x, level, cond), net(x, level, no_label(cond))
    counted = Counted(net)
    both = together(CFG(counted, 2.0, no_label), SAG(counted, 1.8))(x, level, cond)
    assert (counted.calls, counted.rows) == (2, 12)
    alone = SAG(net, 1.8)(x, level, cond)
    torch.testing.assert_close(both.eps, alone.eps + (plain.eps - free.eps))
    around = SAG(CFG(net, 2.0, no_label), 1.8)(x, level, cond)
    assert (around.x0 - both.x0).abs().max() > 1e-3


def test_around_cfg_only_the_conditional_branch_is_watched() -> None:
    net, (x, level, cond) = denoiser(), inputs()
    maps, alone = Maps(frozenset({1})), Maps(frozenset({1}))
    CFG(net, 2.0, no_label).controlled(x, level, cond, Control(maps=maps))
    net.controlled(x, level, cond, Control(maps=alone))
    torch.testing.assert_close(maps.found[1], alone.found[1])
    perturbed, plain = PAG(net, 2.0), PAG(net, 2.0)(x, level, cond)
    found = perturbed.controlled(x, level, cond, Control(maps=Maps(frozenset({1}))))
    assert_same(found, plain)


def test_sag_on_patches_of_an_image() -> None:
    """The rule of its source, with the mask upsampled to pixels, on a network of patches."""
    with initial_weights(0):
        module = PatchTransformer(1, (6, 8), patch=2, width=16, depth=2, heads=2).double()
    for seed, p in enumerate(module.requires_grad_(False).parameters()):
        p.add_(0.3 * normal(*p.shape, seed=seed))
    net, x = NetDenoiser(module, VPLinear()), normal(3, 1, 6, 8)
    maps = Maps(frozenset({1}))
    plain = net.controlled(x, LEVEL, None, Control(maps=maps))
    mask = (maps.found[1].mean(1).sum(1) > 1).reshape(3, 1, 3, 4)
    mask = mask.repeat_interleave(2, 2).repeat_interleave(2, 3)
    blurred = gaussian_matrix(6, 3.0) @ plain.x0 @ gaussian_matrix(8, 3.0).T
    worse = torch.where(mask, blurred, plain.x0)
    eps = net(LEVEL.alpha * worse + LEVEL.sigma * plain.eps, LEVEL).eps
    torch.testing.assert_close(SAG(net, 2.0)(x, LEVEL).eps, 2 * plain.eps - eps)


# Tokens


def test_tokens_lie_on_rows_and_on_patches() -> None:
    x, values = normal(2, 6, 3, 4), normal(2, 6)
    assert torch.equal(laid(values, (6,), x), values[:, :, None, None])
    x = normal(2, 3, 4, 9)
    found = laid(values, (2, 3), x)
    expected = values.reshape(2, 1, 2, 3).repeat_interleave(2, 2).repeat_interleave(3, 3)
    assert torch.equal(found, expected)


def test_patches_of_an_image_are_blurred_in_place() -> None:
    x = normal(2, 3, 4, 4)
    rows = gaussian_matrix(4, 1.5)
    expected = torch.einsum("ij,bcjk,lk->bcil", rows, x, rows)
    torch.testing.assert_close(blurred_rows(1.5, (2, 3))(x), expected)


def test_saliency_is_one_on_average() -> None:
    maps = normal(2, 3, 5, 5).softmax(-1)
    seen = saliency(maps)
    torch.testing.assert_close(seen.mean(1), torch.ones(2, dtype=torch.float64))
    assert seen[1, 2] == pytest.approx(
        sum(maps[1, h, q, 2] for h in range(3) for q in range(5)) / 3
    )


def test_wrong_uses_are_refused() -> None:
    net, (x, level, cond) = denoiser(), inputs()
    with pytest.raises(ValueError, match=r"more than one token, got one"):
        SAG(net, 2.0)(*inputs(tokens=1))
    with pytest.raises(ValueError, match=r"grid of 5 do not lie in x of shape \(2, 4, 6\)"):
        laid(normal(2, 5), (5,), normal(2, 4, 6))
    with pytest.raises(ValueError, match="grid of 2 x 3 do not lie in x"):
        laid(normal(2, 6), (2, 3), normal(2, 3, 4, 4))
    with pytest.raises(ValueError, match="give a blur beside the spread"):
        SAG(net, 2.0, spread=laid)
    with pytest.raises(TypeError, match="SAG acts inside the network, but Toy has no blocks"):
        SAG(Toy(VPLinear()), 2.0)
    with pytest.raises(ValueError, match="under a control already"):
        SAG(SAG(net, 2.0), 2.0)(x, level, cond)
    with pytest.raises(ValueError, match="nobody watched this call"):
        received(Call(net, x, LEVEL, cond))


@pytest.mark.parametrize("sigma", [0.0, -1.0, float("nan")])
def test_a_blur_without_width_is_refused(sigma: float) -> None:
    with pytest.raises(ValueError, match="the sigma of a blur is positive"):
        blurred_rows(sigma, [1])(torch.zeros(2, 4, 3))
