"""What a control does in the joint denoiser, and rows that lie in any order."""

import math

import pytest
import torch

from domains.trajectory import prepared as module
from domains.trajectory.layout import Layout
from domains.trajectory.prepared import prepare
from guided.nets import AttentionControl, Control, Maps, Skip, Stacked
from guided.wrappers import Chunked
from tests.trajectory.crowds import CONFIG, crowd, exact, predictor

S, K = 3, CONFIG.latents


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


@pytest.fixture
def ready(monkeypatch):
    """Two scenes of 5 and 4 agents in double precision, of a network of two layers."""
    monkeypatch.setattr(module, "collate", exact)
    scenes = crowd(0), crowd(1, agents=4)
    return prepare(predictor(dtype=torch.float64, layers=2), scenes)


def output(ready, x, control=None, cond=None):
    level = ready.denoiser.schedule.level(0.5)
    return ready.denoiser.output(x, level, cond, control)


# What a control does in the network


@pytest.mark.parametrize("mode", ["identity", "drop"])
def test_agents_that_do_not_see_each_other_are_each_alone(ready, mode):
    """The same as in scenes whose agents are too far from each other to see anybody."""
    x = draw(2 * S, 5, K)
    found = output(ready, x, Control(AttentionControl(frozenset({0, 1}), mode)))
    context = ready.denoiser.context
    alone = tuple(r._replace(some=torch.zeros_like(r.some)) for r in context.others)
    ready.denoiser.context = context._replace(others=alone)
    assert torch.equal(found, output(ready, x))
    other = x.clone()
    other[:, 0] += 1
    again = output(ready, other, Control(AttentionControl(frozenset({0, 1}), mode)))
    assert torch.equal(again[:, 1:], found[:, 1:]) and not torch.equal(again[:, 0], found[:, 0])


def test_the_ends_of_each_mode_are_those_of_others(ready):
    x, layers = draw(2 * S, 5, K), frozenset({0, 1})

    def under(mode, amount=1.0):
        return output(ready, x, Control(AttentionControl(layers, mode, amount)))

    same = torch.testing.assert_close
    plain = output(ready, x)
    same(under("soft", 0.0), plain)
    same(under("soft", 1.0), under("identity"))
    same(under("scale", 1.0), plain)
    same(under("scale", 0.0), under("uniform"))
    for mode in ("uniform", "identity"):
        assert (under(mode) - plain).abs().max() > 1e-3
    with pytest.raises(ValueError, match=r"agents lie on no grid, .* no blur of width 2.0"):
        under("blur", 2.0)


def test_a_mean_query_is_that_of_the_agents_who_see_somebody(ready):
    """By hand in one attention; padded agents and those who see nobody have no say."""
    attention = ready.predictor.joint.net.layers[0].others
    related = ready.denoiser.context.others[0]
    h = draw(2, S, 5, CONFIG.width)
    found = attention(h, related, h, AttentionControl(frozenset({0}), "blur", math.inf))
    query = attention.query

    def mean(own):
        q = query(own)
        first, second = q[0].mean(1, keepdim=True), q[1, :, :4].mean(1, keepdim=True)
        return torch.stack([first, second]).expand_as(q)

    del attention.query
    attention.query = mean
    wanted = attention(h, related, h)
    torch.testing.assert_close(found[0], wanted[0])
    torch.testing.assert_close(found[1, :, :4], wanted[1, :, :4])


@pytest.mark.parametrize("keep", [0.0, 0.4, 1.0])
def test_a_skipped_layer_counts_in_part(ready, keep):
    x = draw(2 * S, 5, K)
    net = ready.predictor.joint.net
    seen = []
    net.layers[1].register_forward_hook(lambda _, given, out: seen.append((given[0], out)))
    net.out.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    output(ready, x, Control(skip=Skip(frozenset({1}), keep)))
    (before, after), kept = seen
    torch.testing.assert_close(kept, before + keep * (after - before))


def test_the_embedding_of_time_is_perturbed(ready):
    x = draw(2 * S, 5, K)
    found = output(ready, x, Control(embedding=lambda e: e + 1))
    net = ready.predictor.joint.net
    net.time[-1].bias.data += 1
    torch.testing.assert_close(found, output(ready, x))


def test_what_the_network_does_not_know_is_refused(ready):
    x, layers = draw(2 * S, 5, K), frozenset({1})
    assert ready.denoiser.layers == 2
    with pytest.raises(ValueError, match=r"\[2\], but the JointNet has blocks 0 to 1"):
        output(ready, x, Control(skip=Skip(frozenset({2}))))
    with pytest.raises(ValueError, match="a JointNet hands out no attention maps"):
        output(ready, x, Control(maps=Maps(layers)))
    net, context = ready.predictor.joint.net, ready.denoiser.context
    with pytest.raises(TypeError, match="a JointNet takes one control for all rows"):
        net(x, torch.full((2 * S,), 0.5).double(), context, Stacked((None,), (2 * S,)))


# Rows in any order


def test_rows_in_any_order_and_number_are_those_of_their_scenes(ready):
    x, scene = draw(2 * S, 5, K), ready.numbers(S)
    whole = output(ready, x)
    assert torch.equal(output(ready, x, cond=scene), whole)
    for order in ([5, 0, 3, 1, 4, 2], [0, 3, 1], [4], [1, 1, 5, 0, 2]):
        found = output(ready, x[order], cond=scene[order])
        torch.testing.assert_close(found, whole[order], rtol=1e-12, atol=1e-12)


def test_a_layout_is_where_rows_go_and_come_back():
    assert Layout.of(torch.tensor([0, 0, 1, 1]), 2) is None
    scene = torch.tensor([2, 0, 2, 2, 0])
    found = Layout.of(scene, 3)
    assert len(found.take) == 9
    assert found.take[found.back].tolist() == [0, 1, 2, 3, 4]
    assert (found.back // 3).equal(scene)


@pytest.mark.parametrize("told", [True, False])
def test_stacked_branches_keep_their_scenes_and_their_controls(ready, told):
    x, y = draw(2 * S, 5, K), draw(2 * S, 5, K, seed=1)
    pag = Control(AttentionControl(frozenset({1})))
    scene = ready.numbers(S)
    cond = torch.cat([scene, scene]) if told else None
    both = torch.cat([x, y])
    found = output(ready, both, Stacked((None, pag), (2 * S, 2 * S)), cond)
    assert torch.equal(found, torch.cat([output(ready, x), output(ready, y, pag)]))
    if told:  # two branches without a control differ in x alone
        plain = torch.cat([output(ready, x), output(ready, y)])
        torch.testing.assert_close(output(ready, both, cond=cond), plain, rtol=1e-12, atol=1e-12)


def test_chunks_of_rows_are_predicted_alike(ready):
    x, scene = draw(2 * S, 5, K), ready.numbers(S)
    level = ready.denoiser.schedule.level(0.5)
    control = Stacked((None, Control(skip=Skip(frozenset({0})))), (2, 4))
    for own in (None, control):
        found = Chunked(ready.denoiser, 4).controlled(x, level, scene, own)
        wanted = ready.denoiser.controlled(x, level, scene, own)
        torch.testing.assert_close(found.x0, wanted.x0, rtol=1e-12, atol=1e-12)
