import pytest
import torch

from guided import CFG, Counted, NetDenoiser, VPLinear
from guided.guidance import (
    APG,
    PAG,
    SAG,
    STG,
    CFGZeroStar,
    Contrast,
    FactorisedSTG,
    FrequencyGuidance,
    Term,
    low_pass,
    together,
)
from guided.guidance.branches import null
from guided.nets import AttentionControl, Control, Skip
from tests.guided.small_net import assert_same, denoiser, inputs, no_label, transformer


def test_pag_beside_cfg_is_its_formula_in_one_call_of_three_rows() -> None:
    net, (x, level, cond) = denoiser(), inputs()
    counted = Counted(net)
    found = together(CFG(counted, 4.0, no_label), PAG(counted, 3.0))(x, level, cond)
    assert (counted.calls, counted.rows) == (1, 12)
    c, u = net(x, level, cond), net(x, level, no_label(cond))
    p = net.controlled(x, level, cond, Control(AttentionControl(frozenset({1}))))
    for found_, c_, u_, p_ in zip(found, c, u, p, strict=True):
        torch.testing.assert_close(found_, c_ + 3 * (c_ - u_) + 2 * (c_ - p_))


def test_pushes_add_up_and_neutral_ones_are_not_evaluated() -> None:
    counted, (x, level, cond) = Counted(denoiser()), inputs()
    net = denoiser()
    parts = [CFG(counted, 2.0, no_label), PAG(counted, 1.0), STG(counted, 3.0)]
    found = together(*parts)(x, level, cond)
    assert (counted.calls, counted.rows) == (1, 12)
    plain = net(x, level, cond)
    push = sum(part(x, level, cond).x0 - plain.x0 for part in parts)
    torch.testing.assert_close(found.x0, plain.x0 + push)
    weak = net.controlled(x, level, cond, Control(skip=Skip(frozenset({1}))))
    alone = together(STG(net, 0.0))(x, level, cond)
    assert_same(alone, weak)
    counted.reset()
    neutral = together(CFG(counted, 1.0, no_label), SAG(counted, 1.0))(x, level, cond)
    assert (counted.calls, counted.rows) == (1, 4)
    assert torch.equal(neutral.x0, plain.x0)


def test_a_finish_is_kept_with_its_space() -> None:
    net, (x, level, cond) = denoiser(), inputs()
    halved = Contrast(
        net, [Term(null(no_label), 2.0)], finish=lambda guided, strong: 0.5 * guided, space="eps"
    )
    both, bare = together(halved, PAG(net, 2.0)), together(CFG(net, 2.0, no_label), PAG(net, 2.0))
    torch.testing.assert_close(both(x, level, cond).eps, 0.5 * bare(x, level, cond).eps)


def test_methods_that_only_look_once_stand_beside_others() -> None:
    net, (x, level, cond) = denoiser(), inputs()
    apg, bands = APG(net, 3.0, no_label, radius=0.1), low_pass(1.0, (1,))
    frequency = FrequencyGuidance(net, (1.5, 3.0), no_label, bands)
    pag, plain = PAG(net, 2.0), net(x, level, cond).x0
    pushes = [method(x, level, cond).x0 - plain for method in (apg, frequency, pag)]
    found = together(apg, frequency, pag)(x, level, cond).x0
    torch.testing.assert_close(found, plain + sum(pushes))
    wrong = FrequencyGuidance(net, (1.5, 3.0), no_label, (bands[0], bands[0]))
    with pytest.raises(ValueError, match="the bands sum to the identity"):
        together(wrong, pag)(x, level, cond)


def test_what_cannot_be_put_side_by_side_is_refused() -> None:
    net = denoiser()
    with pytest.raises(ValueError, match="contrasts of one denoiser, got 2 with 2 denoisers"):
        together(PAG(net, 2.0), PAG(NetDenoiser(transformer(), VPLinear()), 2.0))
    with pytest.raises(ValueError, match="contrasts of one denoiser, got 0"):
        together()
    with pytest.raises(TypeError, match="together takes contrasts, got NetDenoiser"):
        together(PAG(net, 2.0), net)
    with pytest.raises(TypeError, match=r"FactorisedSTG has a way of its own .*\(combine\)"):
        together(PAG(net, 2.0), FactorisedSTG(net, (2.0, 2.0), (0, 2)))
    with pytest.raises(TypeError, match=r"\(predictions\), which together would drop; nest it, or"):
        together(PAG(net, 2.0), CFGZeroStar(net, 2.0, no_label))
    with pytest.raises(ValueError, match="one with a strong branch of its own, got 0 and 2"):
        together(SAG(net, 2.0), SAG(net, 2.0))
