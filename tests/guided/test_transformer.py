import math

import pytest
import torch
from torch.nn import functional

from guided.nets import AttentionControl, Control, Transformer, attend
from guided.nets.attention import rotate, rotations
from tests.guided.draws import normal


@pytest.fixture
def net():
    """A small transformer in double precision whose every weight matters."""
    module = Transformer(5, width=24, depth=3, heads=2, labels=2, period=4, periods=3).double()
    with torch.no_grad():
        for seed, p in enumerate(module.parameters()):
            p.add_(0.3 * normal(*p.shape, seed=seed))
    return module.requires_grad_(False)


def inputs(batch=3, tokens=10):
    x, time = normal(batch, tokens, 5), torch.linspace(0, 1, batch, dtype=torch.float64)
    return x, time, torch.arange(batch) % 3


# Attention


def test_attend_is_the_formula():
    q, k, v = (normal(2, 3, 5, 4, seed=s) for s in range(3))
    logits = torch.einsum("bhid,bhjd->bhij", q, k) / 2
    torch.testing.assert_close(attend(q, k, v), logits.softmax(-1) @ v)
    control = Control(AttentionControl(frozenset({0}), "scale", 3.0))
    sharp = attend(q, k, v, control.at(0))
    torch.testing.assert_close(sharp, (3 * logits).softmax(-1) @ v)


def test_attention_in_half_precision_is_the_same_with_and_without_a_gradient():
    q, k, v = (normal(2, 3, 5, 4, seed=s).bfloat16() for s in range(3))
    fused = attend(q, k, v)
    assert fused.dtype == torch.bfloat16
    written = attend(q.requires_grad_(), k, v)
    assert written.requires_grad and written.dtype == torch.bfloat16
    torch.testing.assert_close(written.detach(), fused, rtol=0.02, atol=0.02)


def test_controls_of_attention():
    q, k, v = (normal(2, 3, 5, 4, seed=s) for s in range(3))
    layer = frozenset({0})

    def controlled(mode, amount=1.0):
        return attend(q, k, v, Control(AttentionControl(layer, mode, amount)).at(0))

    assert torch.equal(controlled("identity"), v)
    uniform = controlled("uniform")
    torch.testing.assert_close(uniform, v.mean(2, keepdim=True).expand(2, 3, 5, 4))
    flat = controlled("scale", 0.0)
    torch.testing.assert_close(flat, uniform)
    neutral = controlled("scale", 1.0)
    assert torch.equal(neutral, attend(q, k, v))
    with pytest.raises(
        ValueError, match="unknown attention control 'mean'; expected one of identity"
    ):
        AttentionControl(layer, "mean")


def test_rotation_turns_pairs_by_position_times_frequency():
    x = normal(7, 4)
    turned = rotate(x, rotations(7, 4))
    for pair, frequency in enumerate((1.0, 0.01)):
        a, b = x[3, 2 * pair], x[3, 2 * pair + 1]
        c, s = math.cos(3 * frequency), math.sin(3 * frequency)
        torch.testing.assert_close(turned[3, 2 * pair], a * c - b * s)
        torch.testing.assert_close(turned[3, 2 * pair + 1], a * s + b * c)


def test_rotated_products_depend_on_distance_only():
    q, k = normal(8).expand(20, 8), normal(8, seed=1).expand(20, 8)
    turns = rotations(20, 8)
    logits = rotate(q, turns) @ rotate(k, turns).T
    for offset in (-6, 0, 1, 13):
        diagonal = logits.diagonal(offset)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal))
    assert (logits[0, 1:] - logits[0, 0]).abs().min() > 1e-3


# Transformer


def test_a_new_transformer_is_the_constant_zero():
    net = Transformer(5, width=24, depth=2, heads=2, labels=2, period=4)
    x, time, cond = normal(3, 8, 5).float(), torch.rand(3), torch.tensor([0, 1, 2])
    assert torch.equal(net(x, time, cond), torch.zeros_like(x))


def test_every_parameter_gets_a_gradient(net):
    net.requires_grad_(True)
    x, time, cond = inputs(tokens=12)
    net(x, time, cond).square().sum().backward()
    assert [n for n, p in net.named_parameters() if not p.grad.abs().sum() > 0] == []


@pytest.mark.parametrize("batch", [1, 7])
def test_rows_do_not_depend_on_their_batch(net, batch):
    x, time, cond = inputs(batch)
    together = net(x, time, cond)
    for i in range(batch):
        alone = net(x[i : i + 1], time[i : i + 1], cond[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-12, atol=1e-12)
    assert together.dtype == torch.float64


def test_transformer_is_its_formula(net):
    """One block by hand, from the equations of the module docstring."""
    del net.blocks[1:]
    x, time, cond = inputs(2, 6)
    silu = functional.silu
    block, place = net.blocks[0], torch.arange(6)
    c = silu(net.level(silu(net.time[1](net.time[0](time)))) + net.label.weight[cond])
    m = net.modulation(c).reshape(2, 6, 1, 24) + block.table
    a1, b1, g1, a2, b2, g2 = (m[:, i] for i in range(6))
    h = net.enter(x) + net.phase.weight[place % 4] + net.cycle.weight[place // 4]
    q, k, v = block.qkv((1 + a1) * norm(h) + b1).reshape(2, 6, 3, 2, 12).permute(2, 0, 3, 1, 4)
    turn = rotations(6, 12)
    q, k = rotate(norm(q) * block.gain, turn), rotate(norm(k) * block.gain, turn)
    mixed = (q @ k.mT / math.sqrt(12)).softmax(-1) @ v
    h = h + g1 * block.merge(mixed.transpose(1, 2).reshape(2, 6, 24))
    gate, value = block.up((1 + a2) * norm(h) + b2).chunk(2, -1)
    h = h + g2 * block.down(silu(gate) * value)
    scale, shift = net.last(c)[:, None].chunk(2, -1)
    expected = net.out((1 + scale) * norm(h) + shift)
    torch.testing.assert_close(net(x, time, cond), expected)


def norm(h):
    centred = h - h.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()


def test_places_repeat_after_all_periods(net):
    """Without attention, tokens 12 = 4 * 3 apart are alike and those between are not."""
    net.blocks = net.blocks[:0]
    x = normal(1, 1, 5).expand(1, 25, 5)
    out = net(x, torch.ones(1, dtype=torch.float64))[0]
    torch.testing.assert_close(out[:13], out[12:])
    assert torch.cdist(out[:12], out[:12]).fill_diagonal_(1).amin() > 1e-3


def test_other_lengths_work_and_the_far_end_matters(net):
    x, time, cond = inputs(2, 37)
    assert net(x, time, cond).shape == x.shape
    assert net(x[:, :1], time, cond).shape == (2, 1, 5)
    changed = x.clone()
    changed[:, -1] += 1
    assert (net(changed, time, cond) - net(x, time, cond))[:, 0].abs().min() > 1e-6


def test_labels_change_the_output_and_none_is_the_null_label(net):
    x, time, _ = inputs(1)
    outs = [net(x, time, torch.tensor([label])) for label in range(3)]
    assert min((outs[i] - outs[j]).abs().max() for i, j in ((0, 1), (0, 2), (1, 2))) > 1e-3
    assert torch.equal(net(x, time), outs[2])
    assert not torch.equal(net(x, time + 0.5), outs[2])


def test_control_acts_in_its_layers_and_for_one_call(net):
    x, time, cond = inputs()
    plain = net(x, time, cond)
    assert torch.equal(net(x, time, cond, Control()), plain)
    neutral = Control(AttentionControl(frozenset({0, 2}), "scale", 1.0))
    assert torch.equal(net(x, time, cond, neutral), plain)
    first = net(x, time, cond, Control(AttentionControl(frozenset({0}))))
    both = net(x, time, cond, Control(AttentionControl(frozenset({0, 2}))))
    assert (first - plain).abs().max() > 1e-3 and (first - both).abs().max() > 1e-3
    assert torch.equal(net(x, time, cond), plain)


def test_identity_in_all_layers_stops_all_exchange_between_tokens(net):
    x, time, cond = inputs()
    control = Control(AttentionControl(frozenset(range(3)), "identity"))
    changed = x.clone()
    changed[:, 4] += 1
    moved = net(changed, time, cond, control) - net(x, time, cond, control)
    assert moved[:, 4].abs().max() > 1e-3
    others = [i for i in range(10) if i != 4]
    assert moved[:, others].abs().max() == 0


def test_autocast_keeps_close(net):
    net = net.float()
    x, time, cond = inputs()
    x, time = x.float(), time.float()
    with torch.autocast("cpu", torch.bfloat16):
        rough = net(x, time, cond)
    exact = net(x, time, cond)
    assert 0 < (rough - exact).abs().max() < 0.1 * exact.abs().max()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_network_of_half_precision_keeps_close(net, dtype):
    x, time, cond = inputs()
    exact, rough = net(x, time, cond), net.to(dtype)(x.to(dtype), time.to(dtype), cond)
    assert rough.dtype == dtype
    assert 0 < (rough - exact).abs().mean() < 0.1 * exact.abs().mean()


def test_a_time_per_token_modulates_that_token(net):
    """Without exchange between tokens, each is what it would be in a sample of its own time."""
    x, time, cond = inputs(2, 6)
    times = torch.rand(2, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    alone = Control(AttentionControl(frozenset(range(3)), "identity"))
    found = net(x, times, cond, alone)
    for token in range(6):
        own = net(x, times[:, token], cond, alone)[:, token]
        torch.testing.assert_close(found[:, token], own, rtol=1e-12, atol=1e-12)
    same = net(x, time[:, None].expand(2, 6), cond)
    torch.testing.assert_close(same, net(x, time, cond), rtol=1e-12, atol=1e-12)


def test_the_time_of_a_token_reaches_the_others_by_attention(net):
    x, _, cond = inputs(1, 6)
    times = torch.full((1, 6), 0.5, dtype=torch.float64)
    later = times.clone()
    later[0, 2] = 0.9
    assert (net(x, later, cond) - net(x, times, cond)).abs().amin(2).min() > 1e-9


def test_a_control_sees_the_embedding_of_every_token(net):
    x, _, cond = inputs(2, 6)
    seen = []
    double = Control(embedding=lambda e: seen.append(e.shape) or 2 * e)
    times = torch.full((2, 6), 0.5, dtype=torch.float64)
    found = net(x, times, cond, double)
    torch.testing.assert_close(found, net(x, times[:, 0], cond, double), rtol=1e-12, atol=1e-12)
    assert seen == [(2, 6, 24), (2, 24)]


def test_transformer_refuses_wrong_inputs():
    with pytest.raises(ValueError, match=r"multiple of 2 \* heads, got width=30 and heads=4"):
        Transformer(5, width=30, heads=4)
    with pytest.raises(ValueError, match="at least 1 head, got heads=0"):
        Transformer(5, width=30, heads=0)
    with pytest.raises(ValueError, match=r"periods=8 .* is 0; set it"):
        Transformer(5, periods=8)
    net, time = Transformer(5, width=24, depth=2, heads=2), torch.zeros(2)
    with pytest.raises(ValueError, match=r"shape \(B, T, 5\), got \(2, 8, 4\)"):
        net(torch.zeros(2, 8, 4), time)
    with pytest.raises(ValueError, match="no labels but was given cond"):
        net(torch.zeros(2, 8, 5), time, torch.zeros(2, dtype=torch.long))
    with pytest.raises(ValueError, match=r"\(B, T\) for x \(2, 8, 5\), got \(2, 7\)"):
        net(torch.zeros(2, 8, 5), torch.zeros(2, 7))
    with pytest.raises(ValueError, match=r"layers \[7\], but the Transformer has blocks 0 to 1"):
        net(torch.zeros(2, 8, 5), time, control=Control(AttentionControl(frozenset({7}))))
