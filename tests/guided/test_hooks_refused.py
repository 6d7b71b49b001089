"""What no control can act on in a foreign network is refused in words."""

import pytest
import torch
from torch import nn

from guided.adapters import HookedNet, self_attentions
from guided.nets import AttentionControl, Control, Stacked
from tests.guided.foreign_nets import (
    IDENTITY,
    LAYERS,
    SKIP,
    Fused,
    H,
    Multihead,
    T,
    W,
    foreign,
    hooks,
    inputs,
)


def test_unknown_names_are_refused_with_close_ones():
    with pytest.raises(ValueError, match=r"Foreign has no module named 'block.0.attn'; did you mea"
                       r"n 'blocks.0.attn', "):  # fmt: skip
        HookedNet(foreign(), {"block.0.attn": "attention"})
    with pytest.raises(ValueError, match="no module named 'zzz'; see its named_modules"):
        HookedNet(foreign(), {}, "zzz")
    with pytest.raises(ValueError, match="of the kind 'attention' or 'block', got 'conv' for 'bl"):
        HookedNet(foreign(), {"blocks.0": "conv"})


@pytest.mark.parametrize("options", [{"kdim": 4, "vdim": 4}, {"add_bias_kv": True}])
def test_attention_over_other_keys_is_refused(options):
    net = nn.Sequential(nn.MultiheadAttention(W, H, **options))
    with pytest.raises(ValueError, match="'0' is cross-attention, joint attention or"):
        HookedNet(net, {"0": "attention"})
    assert self_attentions(net) == {}


@pytest.mark.parametrize(
    ("control", "message"),
    [
        (Control(AttentionControl(frozenset({4}))), "the Foreign has blocks 0 to 3"),
        (Control(AttentionControl(frozenset({2}))), "layer 2, 'blocks.0', is a block, which can"),
        (Control(embedding=lambda e: e), "none of Foreign is named; give HookedNet"),
    ],
)
def test_controls_of_what_is_not_there_are_refused(control, message):
    x, time = inputs()
    for given in (control, Stacked.of([None, control], [1, 2])):
        with pytest.raises(ValueError, match=message):
            HookedNet(foreign(), LAYERS)(x, time, None, given)


class Wrap(nn.Module):
    def __init__(self, inside, call):
        super().__init__()
        self.inside, self.call = inside, call

    def forward(self, x, time, cond=None):
        return self.call(self.inside, x)


@pytest.mark.parametrize(
    ("net", "kind", "control", "message"),
    [
        (Wrap(Fused(is_causal=True), lambda m, x: m(x)), "attention", IDENTITY, "under a mask"),
        (Wrap(Fused(dropout_p=0.1), lambda m, x: m(x)), "attention", IDENTITY, "call eval()"),
        (Wrap(Fused(), lambda m, x: m(x.flatten(0, 1)[None])), "attention", IDENTITY,
         "the 3 rows of the batch; name another layer"),
        (Wrap(Multihead(), lambda m, x: m(x, x[:, :4], x[:, :4])[0]), "attention", IDENTITY,
         "has 2 heads of 6 queries but 2 of 4 keys; name a self-attention"),
        (Wrap(Multihead(), lambda m, x: m(x, x, x, torch.zeros(3, T) == 1)[0]), "attention",
         IDENTITY, "under a mask"),
        (Wrap(nn.Linear(W, W), lambda m, x: m(x)), "attention", IDENTITY,
         "calls scaled_dot_product_attention 0 times in 1 calls"),
        (Wrap(nn.Sequential(Fused(), Fused()), lambda m, x: m(x)), "attention", IDENTITY,
         "calls scaled_dot_product_attention 2 times in 1 calls"),
        (Wrap(nn.Linear(W, 2 * W), lambda m, x: m(x)), "block", SKIP, "skip a block that keeps"),
        (Wrap(nn.Linear(W, W), lambda m, x: m(x[:1])), "block", SKIP, "skip a block that keeps"),
        (Wrap(nn.Linear(W, W), lambda m, x: x), "block", SKIP, "Wrap did not call its module 'ins"),
    ],
)  # fmt: skip
def test_layers_that_cannot_be_controlled_are_refused(net, kind, control, message):
    x, time = inputs()
    with pytest.raises(ValueError, match=message):
        HookedNet(net.double(), {"inside": kind})(x, time, None, control)
    assert hooks(net) == 0


def test_an_embedding_of_other_rows_is_refused():
    net = Wrap(nn.Linear(W, W).double(), lambda m, x: m(x[:1]) + x)
    x, time = inputs()
    with pytest.raises(ValueError, match=r"'inside' has the shape \(1, 6, 8\), expected one row"):
        HookedNet(net, {}, "inside")(x, time, None, Control(embedding=lambda e: e))


def test_blocks_may_return_tuples():
    net = Wrap(nn.Identity(), lambda m, x: x)
    inside = Wrap(nn.Linear(W, W), lambda m, x: (m(x), "state"))
    net.inside, net.call = inside, lambda m, x: m(x, None)[0]
    x, time = inputs()
    assert torch.equal(HookedNet(net.double(), {"inside": "block"})(x, time, None, SKIP), x)
