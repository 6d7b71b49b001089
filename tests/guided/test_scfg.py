"""Guidance equalised over regions, given or read from attention."""

import pytest
import torch

from guided import CFG, Chunked, Counted, NetDenoiser, VPLinear
from guided.guidance import SCFG, AttentionRegions
from guided.guidance.attention_regions import anchors, propagated
from guided.guidance.regions import equalised
from guided.guidance.space import coordinates
from guided.nets import Transformer
from tests.guided.draws import normal
from tests.guided.pushes import COND, LEVEL, VP, X, both, close, consistent, null

HALVES = torch.zeros(2, 4, 1)
HALVES[0, :1], HALVES[1, 1:] = 1, 1


def size(delta, channel):
    return delta.norm(dim=2, keepdim=True) if channel else delta.abs()


@pytest.mark.parametrize("space", ["x0", "eps", "v"])
@pytest.mark.parametrize("channel", [None, 2])
def test_it_is_the_formula_in_every_space(channel, space):
    strong, weak = (coordinates(p, LEVEL, space) for p in both())
    expected = []
    for c, u in zip(strong, weak, strict=True):
        delta = c - u
        sizes = size(delta[None], channel)[0]
        parts = [sizes[:1].mean(), sizes[1:].mean()]
        ratios = [(sizes.mean() / part).clamp(0.8, 3.0) for part in parts]
        gain = torch.stack([ratios[0], ratios[1], ratios[1], ratios[1]])[:, None]
        expected.append(c + 2 * gain * delta)
    found = SCFG(VP, 3.0, null, HALVES, channel)(X, LEVEL, COND)
    close(coordinates(found, LEVEL, space), torch.stack(expected))
    consistent(found)


@pytest.mark.parametrize("channel", [None, 2])
def test_regions_end_with_the_same_mean_size(channel):
    strong, weak = both()
    method = SCFG(VP, 3.0, null, HALVES, channel, low=1e-6, high=1e6)
    push = size(method(X, LEVEL, COND).x0 - strong.x0, channel)
    before = size(strong.x0 - weak.x0, channel)
    close(push[:, :1].mean((1, 2)), push[:, 1:].mean((1, 2)))
    close(push[:, :1].mean((1, 2)), 2 * before.mean((1, 2)))
    assert (before[:, :1].mean((1, 2)) / before[:, 1:].mean((1, 2)) - 1).abs().max() > 0.2


def test_what_is_cfg():
    cfg = CFG(VP, 3.0, null)(X, LEVEL, COND).x0
    for masks, bounds in (
        (torch.ones(1, 4, 3), (0.8, 3.0)),
        (torch.full((1, 1, 1), 0.5), (0.8, 3.0)),
        (HALVES, (1.0, 1.0)),
        (torch.zeros(2, 4, 3), (0.8, 3.0)),
    ):
        close(SCFG(VP, 3.0, null, masks, low=bounds[0], high=bounds[1])(X, LEVEL, COND).x0, cfg)


def test_regions_of_equal_size_are_left_alone():
    delta = torch.tensor([[1.0, -1.0, 1.0, -1.0]])
    assert torch.equal(equalised(delta, torch.eye(4)[None]), delta)


def test_the_background_does_not_count_and_entries_of_no_region_stay():
    delta = torch.tensor([[8.0, 2.0, 4.0, 7.0]], dtype=X.dtype)
    masks = torch.zeros(1, 3, 4, dtype=X.dtype)
    masks[0, 0, 0] = masks[0, 1, 1] = masks[0, 2, 2] = 1
    found = equalised(delta, masks, background=0, bounds=(0.01, 100))
    close(found, torch.tensor([[3.0, 3.0, 3.0, 7.0]], dtype=X.dtype))
    bounded = equalised(delta, masks, background=0)
    close(bounded, torch.tensor([[8 * 0.8, 3.0, 4 * 0.8, 7.0]], dtype=X.dtype))


def test_empty_regions_and_no_difference_stay_finite():
    delta = torch.tensor([[0.0, 0.0], [0.0, 3.0]])
    masks = torch.tensor([[[1.0, 0], [0, 1], [0, 0]]])
    found = equalised(delta, masks)
    assert found.isfinite().all()
    assert torch.equal(found[0], delta[0])
    assert found[1, 0] == 0 and found[1, 1] == pytest.approx(3 * 0.8)


def test_masks_of_requests():
    own = torch.stack([HALVES, 1 - HALVES])
    x, cond = X[:4], COND[:4]
    found = SCFG(VP, 3.0, null, own)(x, LEVEL, cond).x0
    for rows, masks in ((slice(0, 2), HALVES), (slice(2, 4), 1 - HALVES)):
        close(found[rows], SCFG(VP, 3.0, null, masks)(x[rows], LEVEL, cond[rows]).x0)


# Attention


def test_propagation_is_the_mean_of_true_powers():
    own = normal(2, 5, 5).softmax(2)
    cross = normal(2, 5, 3, seed=1).softmax(2)
    first = cross / cross.sum(1, keepdim=True)
    expected = sum(torch.linalg.matrix_power(own, p) @ first for p in (1, 2, 3)) / 3
    close(propagated(own, cross, 3), expected)
    # Every region keeps the mass that doubly stochastic attention keeps.
    close(propagated(torch.full((1, 4, 4), 0.25), torch.eye(4)[None]).sum(1), torch.ones(1, 4))


def test_anchors_attend_least_alike():
    blocks = torch.block_diag(*[torch.full((n, n), 1 / n) for n in (3, 2, 4)])
    found = anchors(blocks[None], 3)[0].tolist()
    assert sorted(sum(n <= place for n in (3, 5)) for place in found) == [0, 1, 2]
    with pytest.raises(ValueError, match="9 tokens make no 10 regions; ask for fewer"):
        anchors(blocks[None], 10)


def test_blocks_of_attention_become_regions_in_any_layout():
    blocks = torch.block_diag(*[torch.full((n, n), 1 / n) for n in (2, 4)])
    regions = AttentionRegions([0], count=2)
    maps = regions.control.maps
    maps.found[0], maps.grid = blocks.expand(3, 2, 6, 6), (6,)
    for x, mean in ((normal(3, 6, 5), (3,)), (normal(3, 5, 12), (2,))):
        masks = regions.masks(x)
        along = masks.mean(mean).reshape(3, 2, 6, -1).mean(3)
        close(along.sum(1), torch.ones(3, 6, dtype=x.dtype))
        assert (along[:, :, :2] == along[:, :, :1]).all()
        assert (along[:, :, 2:] == along[:, :, 2:3]).all()
        assert (along[:, :, 0] != along[:, :, 2]).all()
    maps.grid = (2, 3)
    masks = regions.masks(normal(3, 1, 4, 9))
    assert masks.shape == (3, 2, 1, 4, 9)
    flat = masks[:, :, 0, ::2, ::3].flatten(2)
    close(masks, flat.reshape(3, 2, 1, 2, 3).repeat_interleave(2, 3).repeat_interleave(3, 4))
    with pytest.raises(ValueError, match=r"tokens on a grid of 2 x 3 do not lie in x of shape \(3"):
        regions.masks(normal(3, 1, 5, 9))
    with pytest.raises(ValueError, match="the attention maps are of 3 rows, and the batch of 4"):
        regions.masks(normal(4, 6, 5))


@pytest.fixture
def net():
    module = Transformer(3, width=16, depth=2, heads=2, labels=2).double()
    with torch.no_grad():
        for seed, p in enumerate(module.parameters()):
            p.add_(0.4 * normal(*p.shape, seed=seed))
    return NetDenoiser(module.requires_grad_(False), VPLinear(), "v")


def dropped(cond):
    return torch.full_like(cond, 2)


def test_regions_of_a_network_are_those_of_its_conditional_branch(net):
    x, cond = normal(4, 6, 3), torch.tensor([0, 1, 1, 0])
    counted = Counted(net)
    regions = AttentionRegions([0, 1], count=2)
    found = SCFG(counted, 3.0, dropped, regions)(x, LEVEL, cond)
    assert (counted.calls, counted.rows) == (1, 8)
    watched = AttentionRegions([0, 1], count=2)
    net.controlled(x, LEVEL, cond, watched.control)
    masks = watched.masks(x)
    assert masks.shape == (4, 2, 6, 1) and (masks.sum(1) == 1).all()
    close(found.x0, SCFG(net, 3.0, dropped, masks)(x, LEVEL, cond).x0)
    close(regions.control.maps.found[1], watched.control.maps.found[1])
    net.controlled(x, LEVEL, dropped(cond), watched.control)
    weak = watched.control.maps.found[1]
    assert (regions.control.maps.found[1] - weak).abs().max() > 1e-3
    alone = SCFG(net, 3.0, dropped, AttentionRegions([0, 1], 2))(x[2:3], LEVEL, cond[2:3])
    close(alone.x0, found.x0[2:3])


def test_what_is_refused():
    def make(masks=HALVES, **options):
        return SCFG(VP, 3.0, null, masks, **options)(X, LEVEL, COND)

    with pytest.raises(ValueError, match=r"in \[0, 1\], got values from 0 to 2"):
        make(2 * HALVES)
    for bounds in ({"low": 0.0}, {"low": 1.1}, {"high": 0.9}):
        with pytest.raises(ValueError, match="the bounds of a ratio leave in 1, got low="):
            make(**bounds)
    for masks in (torch.ones(4), torch.ones(2, 2, 4, 1), torch.ones(0, 2, 4, 1)):
        with pytest.raises(ValueError, match=r"masks are \(R, ...\) or \(Q, R, ...\) with Q"):
            make(masks)
    with pytest.raises(ValueError, match=r"do not fit sizes of shape \(5, 4, 1\); the axis of"):
        make(torch.ones(1, 4, 3), channel=2)
    for masks, background in ((HALVES, 2), (HALVES, -1), (torch.ones(1, 4, 3), 0)):
        with pytest.raises(ValueError, match="the background is one of several regions, counted"):
            make(masks, background=background)
    for options in (([], 2, 4), ([0], 0, 4), ([0], 2, 0)):
        with pytest.raises(ValueError, match="needs at least one layer, region and power, got"):
            AttentionRegions(*options)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_regions_of_a_batch_in_chunks_are_those_of_the_batch(net, size):
    x, cond = normal(3, 6, 3), torch.tensor([0, 1, 1])
    whole = SCFG(net, 3.0, dropped, AttentionRegions([0], 2))
    chunked = SCFG(Chunked(net, size), 3.0, dropped, AttentionRegions([0], 2))
    for _ in range(2):
        close(chunked(x, LEVEL, cond).x0, whole(x, LEVEL, cond).x0)
