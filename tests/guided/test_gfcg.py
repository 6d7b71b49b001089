import pytest
import torch

from guided import CFG, Counted, Heun, Rng, VPLinear
from guided.exact import Mixture
from guided.guidance import GFCG, Autoguidance, together
from guided.guidance.denoise.gfcg import confusion
from guided.schedule import log_snr
from tests.guided.draws import normal
from tests.guided.small_net import assert_same, denoiser, inputs, no_label
from tests.guided.toy import Toy

F64 = torch.float64
WEIGHTS = normal(3, 5, seed=9)


def classify(x0: torch.Tensor) -> torch.Tensor:
    """Three classes, the third of which the network knows as no label."""
    return x0.mean(1) @ WEIGHTS.T


def by_hand(net, weak, w: float, gate: float, x, level, cond):
    """Row by row, in plain numbers."""
    strong = net(x, level, cond)
    p = classify(strong.x0).softmax(1)
    out = strong.x0.clone()
    for row, c in enumerate(cond.tolist()):
        rival = max((k for k in range(3) if k != c), key=lambda k: p[row, k].item())
        share = max(0.0, 1 - p[row, c].item() / gate)
        if weak is not net:
            rival, share = (rival if share else c), 1.0
        other = weak(x[row : row + 1], level, torch.tensor([rival])).x0[0]
        out[row] = strong.x0[row] + (w - 1) * share * (strong.x0[row] - other)
    return out


@pytest.mark.parametrize("gate", [1.0, 0.5])
def test_gfcg_is_its_formula(gate: float) -> None:
    net, (x, level, cond) = denoiser(), inputs(7)
    counted = Counted(net)
    found = GFCG(counted, 2.5, classify, gate=gate)(x, level, cond)
    torch.testing.assert_close(found.x0, by_hand(net, net, 2.5, gate, x, level, cond))
    torch.testing.assert_close(x, level.alpha * found.x0 + level.sigma * found.eps)
    assert (counted.calls, counted.rows) == (2, 14)


def test_a_weak_network_is_asked_for_the_rival_or_is_plain_autoguidance() -> None:
    net, weak, (x, level, cond) = denoiser(), denoiser(2), inputs(7)
    counted, small = Counted(net), Counted(weak)
    found = GFCG(counted, 2.5, classify, gate=0.8, weak=small)(x, level, cond)
    torch.testing.assert_close(found.x0, by_hand(net, weak, 2.5, 0.8, x, level, cond))
    assert (counted.calls, counted.rows, small.calls, small.rows) == (1, 7, 1, 7)
    sure = classify(net(x, level, cond).x0).softmax(1).gather(1, cond[:, None])[:, 0] >= 0.8
    assert 0 < sure.sum() < 7, "both cases are there"
    plain = Autoguidance(net, weak, 2.5)(x, level, cond)
    torch.testing.assert_close(found.x0[sure], plain.x0[sure])


def test_beside_cfg_both_push_from_the_same_branch() -> None:
    net, (x, level, cond) = denoiser(), inputs(7)
    counted = Counted(net)
    both = together(CFG(counted, 2.0, no_label), GFCG(counted, 2.5, classify))(x, level, cond)
    assert (counted.calls, counted.rows) == (2, 21)
    alone, strong = GFCG(net, 2.5, classify)(x, level, cond), net(x, level, cond)
    free = net(x, level, no_label(cond))
    torch.testing.assert_close(both.x0, alone.x0 + strong.x0 - free.x0)


def test_the_rival_and_the_share() -> None:
    p = torch.tensor([[0.5, 0.3, 0.2], [0.05, 0.9, 0.05], [0.0, 0.2, 0.8], [0.25, 0.7, 0.05]])
    rival, share = confusion(p.log(), torch.tensor([0, 1, 0, 2]), gate=0.8)
    assert rival.tolist() == [1, 0, 2, 1]
    torch.testing.assert_close(share, torch.tensor([0.375, 0.0, 1.0, 0.9375]))


def test_a_confident_classifier_leaves_the_network_alone() -> None:
    net, (x, level, cond) = denoiser(), inputs()

    def sure(x0: torch.Tensor) -> torch.Tensor:
        return 9.0 * torch.nn.functional.one_hot(cond, 3).to(x0)

    assert_same(GFCG(net, 5.0, sure)(x, level, cond), net(x, level, cond))


def test_the_classifier_is_not_differentiated_and_not_asked_at_scale_one() -> None:
    net, (x, level, cond) = denoiser(), inputs()
    asked = []

    def classifier(x0: torch.Tensor) -> torch.Tensor:
        asked.append((torch.is_grad_enabled(), x0.requires_grad))
        return classify(x0)

    neutral = GFCG(net, 1.0, classifier)(x, level, cond)
    assert not asked and torch.equal(neutral.x0, net(x, level, cond).x0)
    y = x.clone().requires_grad_()
    found = GFCG(net, 2.0, classifier)(y, level, cond)
    (slope,) = torch.autograd.grad(found.x0.sum(), y)
    assert asked == [(False, False)] and slope.abs().max() > 0


def test_scales_per_request_and_conditions_of_other_kinds() -> None:
    net, (x, level, cond) = denoiser(), inputs()
    scales = torch.tensor([2.0, 4.0], dtype=F64)
    found = GFCG(net, scales, classify)(x, level, cond)
    for row, w in enumerate((2.0, 2.0, 4.0, 4.0)):
        alone = GFCG(net, w, classify)(x[row : row + 1], level, cond[row : row + 1])
        assert_same(alone, (found.x0[row : row + 1], found.eps[row : row + 1]))

    class Wrapped(type(net)):
        def controlled(self, x, level, cond, control):
            return super().controlled(x, level, cond["label"], control)

    wrapped = Wrapped(net.net, net.schedule)
    given = GFCG(wrapped, scales, classify, lambda c: c["label"], lambda c, k: {**c, "label": k})
    assert_same(given(x, level, {"label": cond}), found)


def test_samples_agree_with_their_class_more_often() -> None:
    """Two overlapping classes: the share on the right side of the middle rises with the scale."""
    law = Mixture(torch.ones(2), torch.tensor([[-0.5], [0.5]], dtype=F64), 0.36)
    net = law.denoiser(VPLinear(), classes=torch.tensor([0, 1]))
    times, cond = log_snr(VPLinear(), 30, sigma_min=1e-2, sigma_max=50.0), torch.arange(2000) % 2
    right = []
    for w in (1.0, 1.5, 2.0):
        sampler = Heun(GFCG(net, w, lambda x0: law.responsibilities(x0).log()))
        x = sampler.sample(sampler.initial((2000, 1), times, Rng(0), F64), times, cond, rng=Rng(1))
        right.append(((x[:, 0] > 0) == (cond == 1)).double().mean().item())
    assert right[0] == pytest.approx(0.798, abs=0.03)  # Phi(0.5 / 0.6)
    assert right[0] + 0.05 < right[1] < right[2]


def test_wrong_uses_are_refused() -> None:
    net, (x, level, cond) = denoiser(), inputs()
    for gate in (0.0, 1.1):
        with pytest.raises(ValueError, match=rf"a confidence in \(0, 1\], got {gate}"):
            GFCG(net, 2.0, classify, gate=gate)
    with pytest.raises(ValueError, match="the weak network has the schedule"):
        GFCG(net, 2.0, classify, weak=Toy(type(net.schedule)(beta_max=10.0)))
    for bad in (lambda x0: classify(x0)[:, :1], lambda x0: classify(x0)[0]):
        with pytest.raises(ValueError, match=r"needs logits \(B, K\) of at least two classes"):
            GFCG(net, 2.0, bad)(x, level, cond)
    for labels in (lambda c: c.double(), lambda c: c[:2], lambda c: None):
        with pytest.raises(ValueError, match="say with labels= what class a condition is"):
            GFCG(net, 2.0, classify, labels)(x, level, cond)
    for label in (-1, 3):
        with pytest.raises(ValueError, match=rf"classes, 0 to 2, got {label} to {label}"):
            confusion(torch.zeros(2, 3), torch.full((2,), label), gate=0.9)
