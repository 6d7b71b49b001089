"""Controls inside foreign networks: against explicit formulas, per row, and without a trace."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from guided import DDIM, NetDenoiser, Rng
from guided.adapters import HookedNet, self_attentions
from guided.guidance import Contrast, Term
from guided.guidance.branches import perturbed
from guided.nets import AttentionControl, Control, Maps, Skip, Stacked
from guided.rng import initial_weights
from guided.schedule import Cosine, uniform
from tests.guided.foreign_nets import (
    ATTENTIONS,
    IDENTITY,
    LAYERS,
    Fused,
    H,
    T,
    W,
    foreign,
    hooks,
    inputs,
)


def by_hand(net, x, time, layer, change):
    """Evaluate a network whose attention in one layer is change(q, k, v), without hooks."""
    level = net.time(time[:, None])
    for index, block in enumerate(net.blocks):
        if index != layer:
            x = block(x, level)
            continue
        mixed = change(*block.attn.project(block.norm(x)))
        x = x + block.attn.out(mixed.transpose(1, 2).flatten(2)) + level[:, None]
        x = x + block.mlp(x)
    return x


def logits(q, k, kind):
    return q @ k.mT * (0.9 if kind == "scaled" else q.shape[-1] ** -0.5)


def blur(tokens, sigma):
    place = torch.arange(T).double()
    weight = torch.exp(-0.5 * (place[:, None] - place) ** 2 / sigma**2)
    return weight / weight.sum(1, keepdim=True) @ tokens


FORMULAS = {
    "identity": lambda q, k, v, kind: v,
    "uniform": lambda q, k, v, kind: torch.ones(T, T).double() / T @ v,
    "drop": lambda q, k, v, kind: 0 * v,
    "soft": lambda q, k, v, kind: 0.3 * logits(q, k, kind).softmax(-1) @ v + 0.7 * v,
    "scale": lambda q, k, v, kind: (0.7 * logits(q, k, kind)).softmax(-1) @ v,
    "blur": lambda q, k, v, kind: logits(blur(q, 0.7), k, kind).softmax(-1) @ v,
}


@pytest.mark.parametrize("kind", ATTENTIONS)
@pytest.mark.parametrize("mode", FORMULAS)
def test_attention_modes_are_their_formulas(kind, mode):
    net, (x, time) = foreign(kind), inputs()
    control = Control(AttentionControl(frozenset({1}), mode, 0.7))
    with torch.no_grad():
        found = HookedNet(net, LAYERS)(x, time, None, control)
        expected = by_hand(net, x, time, 1, lambda q, k, v: FORMULAS[mode](q, k, v, kind))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert (found - net(x, time)).abs().max() > 1e-3
    assert hooks(net) == 0


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_maps_are_those_of_the_softmax_and_change_nothing(kind):
    net, (x, time) = foreign(kind), inputs()
    maps, truth = Maps(frozenset({1})), []
    found = HookedNet(net, LAYERS)(x, time, None, Control(maps=maps))
    by_hand(net, x, time, 1, lambda q, k, v: truth.append(logits(q, k, kind).softmax(-1)) or v)
    torch.testing.assert_close(maps.found[1], truth[0], rtol=0, atol=1e-12)
    torch.testing.assert_close(found, net(x, time), rtol=0, atol=1e-12)
    assert maps.grid == (T,)


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_rows_of_a_stacked_call_are_separate_calls(kind):
    net, (x, time) = foreign(kind), inputs()
    hooked = HookedNet(net, LAYERS, "time")
    shift = Rng(3).normal((W,), torch.float64)
    parts = [
        Control(AttentionControl(frozenset({0}), "identity")),
        None,
        Control(AttentionControl(frozenset({0, 1}), "scale", 0.5), Skip(frozenset({3}), 0.4)),
        Control(skip=Skip(frozenset({0, 2})), embedding=lambda e: e + shift),
    ]
    sizes = [3, 3, 2, 3]
    rows = [slice(0, n) for n in sizes]
    together = hooked(
        torch.cat([x[r] for r in rows]), torch.cat([time[r] for r in rows]), None,
        Stacked.of(parts, sizes),
    )  # fmt: skip
    for part, r, found in zip(parts, rows, together.split(sizes), strict=True):
        torch.testing.assert_close(found, hooked(x[r], time[r], None, part), rtol=0, atol=1e-12)
    assert torch.equal(hooked(x, time), net(x, time))
    assert hooks(net) == 0


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_skipped_attention_adds_nothing_and_in_part_its_share(kind):
    net, (x, time) = foreign(kind), inputs()
    for keep in (0.0, 0.25):
        found = HookedNet(net, LAYERS)(x, time, None, Control(skip=Skip(frozenset({0}), keep)))
        block, level = net.blocks[0], net.time(time[:, None])
        h = x + keep * block.attended(block.norm(x)) + level[:, None]
        torch.testing.assert_close(found, net.blocks[1](h + block.mlp(h), level))


@pytest.mark.parametrize("keep", [0.0, 0.3, 1.0])
def test_a_skipped_block_counts_in_part(keep):
    net, (x, time) = foreign(), inputs()
    found = HookedNet(net, LAYERS)(x, time, None, Control(skip=Skip(frozenset({2}), keep)))
    level = net.time(time[:, None])
    h = x + keep * (net.blocks[0](x, level) - x)
    torch.testing.assert_close(found, net.blocks[1](h, level))


def test_the_embedding_of_the_level_is_changed():
    net, (x, time) = foreign(), inputs()
    found = HookedNet(net, {}, "time")(x, time, None, Control(embedding=lambda e: 2 * e))
    net.time[2].weight.data *= 2
    net.time[2].bias.data *= 2
    torch.testing.assert_close(found, net(x, time))


def test_an_encoder_layer_of_pytorch_leaves_its_fast_path():
    with initial_weights(0):
        layer = nn.TransformerEncoderLayer(W, H, 16, batch_first=True).double().eval()
    hooked = HookedNet(layer, self_attentions(layer), call=lambda net, x, time, cond: net(x))
    x, time = inputs()
    with torch.no_grad():
        found = hooked(x, time, None, IDENTITY)
        v = functional.linear(x, *(p.chunk(3)[2] for p in (
            layer.self_attn.in_proj_weight, layer.self_attn.in_proj_bias)))  # fmt: skip
        h = layer.norm1(x + layer.self_attn.out_proj(v))
        expected = layer.norm2(h + layer.linear2(functional.relu(layer.linear1(h))))
    torch.testing.assert_close(found, expected)
    assert hooked.names == ("self_attn",)


# No trace


class Broken(nn.Linear):
    def forward(self, x):
        raise RuntimeError("broken")


def test_hooks_come_off_after_an_exception_in_the_network():
    net, (x, time) = foreign(), inputs()
    net.blocks[1].mlp[1] = Broken(W, W).double()
    hooked = HookedNet(net, LAYERS, "time")
    everything = Control(
        AttentionControl(frozenset({0, 1})), Skip(frozenset({2, 3})), lambda e: e, Maps({0})
    )
    with pytest.raises(RuntimeError, match="broken"):
        hooked(x, time, None, everything)
    assert hooks(net) == 0
    q = torch.zeros(1, 1, 2, 2)
    assert functional.scaled_dot_product_attention(q, q, q + 1).eq(1).all()


def test_hooks_come_off_after_an_exception_in_a_hook():
    net, (x, time) = foreign(), inputs()
    seen = []

    def fails(embedding):
        seen.append(hooks(net))
        raise RuntimeError("fails")

    control = Control(AttentionControl(frozenset({0})), embedding=fails)
    with pytest.raises(RuntimeError, match="fails"):
        HookedNet(net, LAYERS, "time")(x, time, None, control)
    assert seen == [3]
    assert hooks(net) == 0


def test_a_hooked_network_in_a_hooked_network():
    net, (x, time) = foreign(), inputs()
    inner = HookedNet(net, LAYERS)
    own = Control(AttentionControl(frozenset({0}), "uniform"))
    outer = HookedNet(
        inner, {"net.blocks.1.attn": "attention"}, call=lambda net, x, time, c: net(x, time, c, own)
    )
    found = outer(x, time, None, IDENTITY)
    level = net.time(time[:, None])
    for block, mode in zip(net.blocks, ("uniform", "identity"), strict=True):
        mixed = FORMULAS[mode](*block.attn.project(block.norm(x)), "fused")
        x = x + block.attn.out(mixed.transpose(1, 2).flatten(2)) + level[:, None]
        x = x + block.mlp(x)
    torch.testing.assert_close(found, x)
    assert hooks(outer) == 0


def test_a_contrast_runs_on_a_foreign_network():
    net = foreign()
    denoiser = NetDenoiser(HookedNet(net, LAYERS), Cosine(), "v")
    assert denoiser.layers == 4
    weak = perturbed(IDENTITY)
    x, _ = inputs()
    level = denoiser.schedule.level(0.6)
    found = Contrast(denoiser, [Term(weak, 3.0)])(x, level)
    strong = denoiser(x, level)
    worse = denoiser.controlled(x, level, None, IDENTITY)
    torch.testing.assert_close(found.x0, worse.x0 + 3 * (strong.x0 - worse.x0))
    run = DDIM(Contrast(denoiser, [Term(weak, 3.0)])).sample(x, uniform(4), rng=Rng(0))
    assert run.isfinite().all() and hooks(net) == 0


# How the tokens of an image lie


class Patches(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.cut, self.attn = nn.Conv2d(2, W, size, size), Fused()

    def forward(self, x, time, cond=None):
        h = self.attn(self.cut(x).flatten(2).mT)
        return x + h.mean()


@pytest.mark.parametrize(("size", "grid"), [(1, (8, 4)), (2, (4, 2)), ((2, 1), (8, 4))])
def test_the_tokens_of_an_image_lie_as_its_patches(size, grid):
    net, x = Patches(size).double(), Rng(0).normal((2, 2, 8, 4), torch.float64)
    hooked, maps = HookedNet(net, {"attn": "attention"}), Maps(frozenset({0}))
    hooked(x, torch.zeros(2), None, Control(maps=maps))
    assert maps.grid == grid
    blurring = Control(AttentionControl(frozenset({0}), "blur", 1.0))
    if math.prod(grid) == maps.found[0].shape[-1]:
        assert hooked(x, torch.zeros(2), None, blurring).isfinite().all()
    else:
        with pytest.raises(ValueError, match="16 tokens do not lie on a grid of 8 x 4"):
            hooked(x, torch.zeros(2), None, blurring)
