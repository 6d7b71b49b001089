import pytest
import torch

from guided import CFG, Counted, NetDenoiser, VPLinear
from guided.guidance import PAG, SEG, STG
from guided.nets import MLP, AttentionControl, Control
from tests.guided.small_net import assert_same, denoiser, inputs, mixed, no_label
from tests.guided.toy import Toy

MAKERS = {
    "identity": lambda d, w: PAG(d, w),
    "drop": lambda d, w: PAG(d, w, mode="drop"),
    "soft": lambda d, w: PAG(d, w, mode="soft", amount=0.3),
    "blur": lambda d, w: SEG(d, w, 1.5),
    "blur-inf": lambda d, w: SEG(d, w),
    "skip": lambda d, w: STG(d, w),
    "skip-part": lambda d, w: STG(d, w, keep=0.4),
}
every = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())


@every
def test_the_delta_is_not_zero_and_grows_with_the_scale(make) -> None:
    net, (x, level, cond) = denoiser(), inputs()
    plain = net(x, level, cond)
    by = [make(net, w)(x, level, cond).x0 - plain.x0 for w in (2.0, 3.0)]
    assert by[0].abs().flatten(1).amax(1).min() > 1e-3
    torch.testing.assert_close(by[1], 2 * by[0])


@every
def test_the_neutral_scale_is_one_plain_call(make) -> None:
    counted, (x, level, cond) = Counted(denoiser()), inputs()
    found = make(counted, 1.0)(x, level, cond)
    assert (counted.calls, counted.rows) == (1, 4)
    assert all(torch.equal(a, b) for a, b in zip(found, denoiser()(x, level, cond), strict=True))
    counted.reset()
    make(counted, 1.5)(x, level, cond)
    assert (counted.calls, counted.rows) == (1, 8)


def test_pag_is_its_formula_in_the_middle_block() -> None:
    net, (x, level, cond) = denoiser(depth=5), inputs()
    strong = net(x, level, cond)
    weak = net.controlled(x, level, cond, Control(AttentionControl(frozenset({2}))))
    assert_same(PAG(net, 2.5)(x, level, cond), mixed(strong, weak, 2.5))
    assert_same(PAG(net, 2.5, 2)(x, level, cond), mixed(strong, weak, 2.5))
    assert_same(PAG(net, 0.0)(x, level, cond), weak)
    soft = PAG(net, 2.5, [2], "soft", 1.0)(x, level, cond)
    assert_same(soft, mixed(strong, weak, 2.5))
    assert_same(PAG(net, 2.5, [2], "soft", 0.0)(x, level, cond), strong)


def test_a_block_whose_attention_adds_nothing_gives_no_delta() -> None:
    net, (x, level, cond) = denoiser(), inputs()
    merge = net.net.blocks[1].merge
    merge.weight.zero_(), merge.bias.zero_()
    assert_same(PAG(net, 3.0, 1)(x, level, cond), net(x, level, cond))
    assert (PAG(net, 3.0, 2)(x, level, cond).x0 - net(x, level, cond).x0).abs().max() > 1e-3


def test_attention_that_is_the_identity_already_gives_no_delta() -> None:
    """With keys that are the queries, and sharp: a token looks at itself alone."""
    net, (x, level, cond) = denoiser(), inputs()
    block = net.net.blocks[1]
    for part in (block.qkv.weight, block.qkv.bias):
        queries, keys, _ = part.chunk(3)
        keys.copy_(queries)
    block.gain.fill_(1e3)
    assert_same(PAG(net, 3.0)(x, level, cond), net(x, level, cond))
    found, plain = PAG(net, 3.0, layers=0)(x, level, cond), net(x, level, cond)
    assert (found.x0 - plain.x0).abs().max() > 1e-3


def test_pag_around_cfg_perturbs_both_of_its_branches() -> None:
    net, (x, level, cond) = denoiser(), inputs()
    counted = Counted(net)
    found = PAG(CFG(counted, 2.0, no_label), 3.0)(x, level, cond)
    assert (counted.calls, counted.rows) == (1, 16)
    control = Control(AttentionControl(frozenset({1})))
    weak = [net.controlled(x, level, c, control) for c in (cond, no_label(cond))]
    strong = [net(x, level, c) for c in (cond, no_label(cond))]
    outer = [type(strong[0])(*mixed(a, b, 2.0)) for a, b in (strong, weak)]
    assert_same(found, mixed(*outer, 3.0))


def test_pag_inside_pag_is_refused() -> None:
    net, (x, level, cond) = denoiser(), inputs()
    with pytest.raises(ValueError, match=r"under a control already.*together instead of nesting"):
        PAG(PAG(net, 2.0), 2.0)(x, level, cond)


def test_a_scale_per_sample_is_a_loop_over_samples() -> None:
    net, (x, level, cond) = denoiser(), inputs()
    scales = torch.tensor([0.5, 1.0, 2.0, 4.0], dtype=torch.float64)
    together = PAG(net, scales)(x, level, cond)
    for i, w in enumerate(scales.tolist()):
        alone = PAG(net, w)(x[i : i + 1], level, cond[i : i + 1])
        assert_same(alone, (together.x0[i : i + 1], together.eps[i : i + 1]))


def test_wrong_layers_and_amounts_are_refused() -> None:
    net = denoiser()
    for make in (PAG, SEG, STG):
        with pytest.raises(ValueError, match=rf"{make.__name__} acts .* blocks 0 to 2 .* \[1, 7\]"):
            make(net, 2.0, layers=[1, 7])
        with pytest.raises(ValueError, match=r"one or more of the blocks 0 to 2 .* got \[\]"):
            make(net, 2.0, layers=[])
        for bare in (Toy(VPLinear()), NetDenoiser(MLP(3, 3), VPLinear())):
            name = type(bare).__name__
            with pytest.raises(TypeError, match=f"{name} has no blocks .* guided.adapters.hooks"):
                make(bare, 2.0)
    with pytest.raises(ValueError, match="unknown mode 'blur' of PAG; expected 'identity'"):
        PAG(net, 2.0, mode="blur")
    for mode, amount in (("soft", None), ("drop", 0.5)):
        with pytest.raises(ValueError, match=f"got mode='{mode}' and amount={amount}"):
            PAG(net, 2.0, mode=mode, amount=amount)
    with pytest.raises(ValueError, match="the sigma of 'blur' is above 0, got -1"):
        SEG(net, 2.0, -1.0)
    with pytest.raises(ValueError, match="one token cannot be perturbed"):
        PAG(net, 2.0)(*inputs(tokens=1))
