import pytest
import torch

from guided import CFG, Counted, Heun, Rng, VPLinear
from guided.exact import Mixture
from guided.guidance import ICG, PosteriorICG, all_classes, random_class
from guided.guidance.denoise.posterior_icg import ClassAverage
from guided.rng import stream_seed
from guided.schedule import Level, log_snr
from tests.guided.draws import normal
from tests.guided.small_net import LEVEL, assert_same, denoiser, inputs, mixed
from tests.guided.toy import Toy

F64 = torch.float64
STD = 0.3
CENTRES = torch.tensor([[-2.0, 0.0], [2.0, 0.0]], dtype=F64)
CLASSES = Mixture(torch.tensor([0.3, 0.7]), CENTRES, STD**2)


def null(cond: torch.Tensor) -> torch.Tensor:
    return torch.full_like(cond, -1)


def log_posterior(x: torch.Tensor, level: Level) -> torch.Tensor:
    return CLASSES.noised(level).responsibilities(x).log()


def exact():
    return CLASSES.denoiser(VPLinear(), classes=torch.tensor([0, 1]))


def test_icg_is_its_formula_with_one_draw_a_level() -> None:
    net, (x, level, cond) = denoiser(), inputs()
    drawn = Rng(stream_seed(3, round(level.t * 2**40))).integers(0, 2, (1,)).expand(4)
    expected = mixed(net(x, level, cond), net(x, level, drawn), 2.5)
    guided = ICG(net, 2.5, random_class(2), seed=3)
    assert_same(guided(x, level, cond), expected)
    alone = guided(x[1:2], level, cond[1:2])
    assert_same(alone, tuple(part[1:2] for part in expected))


def test_all_classes_are_drawn() -> None:
    seen = []

    def draw(cond: torch.Tensor, rng: Rng) -> torch.Tensor:
        assert cond.shape == (1,)
        seen.append(random_class(2)(cond, rng))
        return seen[-1]

    guided, (x, _, cond) = ICG(denoiser(), 2.0, draw), inputs()
    for t in torch.linspace(0.2, 0.9, 20).tolist():
        guided(x, VPLinear().level(t), cond)
    assert 4 <= int(torch.cat(seen).sum()) <= 16


def test_the_same_condition_or_classes_that_do_not_matter_give_no_delta() -> None:
    net, (x, level, _) = denoiser(), inputs()
    cond = torch.ones(4, dtype=torch.long)
    assert_same(ICG(net, 3.0, lambda c, rng: c)(x, level, cond), net(x, level, cond))
    net.net.label.weight.copy_(net.net.label.weight[:1].expand(3, -1))
    assert_same(ICG(net, 3.0, random_class(2))(x, level, cond), net(x, level, cond))


def test_with_identical_classes_icg_is_cfg() -> None:
    law = Mixture(torch.ones(3), CENTRES[:1].expand(3, -1), STD**2)
    net = law.denoiser(VPLinear(), classes=torch.arange(3))
    x, cond = normal(6, 2), torch.arange(6) % 3
    found = ICG(net, 3.0, random_class(3))(x, LEVEL, cond)
    assert_same(found, CFG(net, 3.0, null)(x, LEVEL, cond))


@pytest.mark.parametrize("t", [0.05, 0.4, 0.95])
def test_posterior_icg_is_cfg_where_the_classifier_is_exact(t: float) -> None:
    level, counted = VPLinear().level(t), Counted(exact())
    x, cond = 2 * normal(6, 2), torch.arange(6) % 2
    guided = PosteriorICG(counted, 2.5, all_classes(2), log_posterior)
    assert_same(guided(x, level, cond), CFG(exact(), 2.5, null)(x, level, cond), 1e-9)
    assert (counted.calls, counted.rows) == (2, 6 + 12)
    average = ClassAverage(exact(), all_classes(2), log_posterior)
    assert_same(average(x, level, cond), exact()(x, level, null(cond)), 1e-9)


def thrown_out(guided) -> float:
    """The share of samples beyond the radius that holds 99 % of their class."""
    times = log_snr(VPLinear(), 40, sigma_min=1e-2, sigma_max=50.0)
    sampler, cond = Heun(guided), torch.arange(1000) % 2
    x = sampler.sample(sampler.initial((1000, 2), times, Rng(0), F64), times, cond, rng=Rng(1))
    return ((x - CENTRES[cond]).norm(dim=1) > 3.035 * STD).double().mean().item()


def test_icg_fails_on_separate_classes_that_the_network_knows() -> None:
    """The numbers of its docstring; the average over the posterior does not fail."""
    assert thrown_out(ICG(exact(), 1.5, random_class(2))) == pytest.approx(0.64, abs=0.06)
    assert thrown_out(ICG(exact(), 4.0, random_class(2))) > 0.99
    for guided in (
        CFG(exact(), 1.5, null),
        PosteriorICG(exact(), 1.5, all_classes(2), log_posterior),
    ):
        assert thrown_out(guided) < 0.02


def test_wrong_uses_are_refused() -> None:
    x, cond = normal(4, 2), torch.zeros(4, dtype=torch.long)
    with pytest.raises(ValueError, match=r"contrasts a condition .* got cond=None; .* use TSG"):
        ICG(Toy(VPLinear()), 2.0, random_class(2))(x, LEVEL)
    with pytest.raises(ValueError, match=r"ICG draws once for a level.* tensor of \(4, 1\)"):
        level = Level(*(torch.full((4, 1), v, dtype=F64) for v in LEVEL))
        ICG(exact(), 2.0, random_class(2))(x, level, cond)
    with pytest.raises(ValueError, match=r"logits of 3 classes for 4 rows, got \(4, 2\)"):
        PosteriorICG(exact(), 2.0, all_classes(3), log_posterior)(x, LEVEL, cond)
