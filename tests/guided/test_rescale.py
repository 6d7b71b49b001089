"""Rescaled guidance against its formula, sample by sample."""

import pytest
import torch

from guided import CFG, Counted
from guided.guidance import Contrast, RescaledCFG, Term, rescale
from guided.guidance.branches import null as null_branch
from guided.guidance.space import coordinates
from tests.guided.draws import normal
from tests.guided.pushes import COND, LEVEL, VP, X, both, close, consistent, null


@pytest.mark.parametrize("space", ["x0", "eps", "v", "flow"])
@pytest.mark.parametrize("phi", [0.3, 1.0])
def test_it_is_the_formula_in_its_space(space, phi):
    strong, weak = (coordinates(p, LEVEL, space) for p in both())
    guided = weak + 3 * (strong - weak)
    expected = [
        phi * g * (s.std() / g.std()) + (1 - phi) * g for g, s in zip(guided, strong, strict=True)
    ]
    found = RescaledCFG(VP, 3.0, null, phi, space)(X, LEVEL, COND)
    close(coordinates(found, LEVEL, space), torch.stack(expected))
    consistent(found)


def test_all_of_it_gives_the_spread_of_the_conditional_prediction():
    found = coordinates(RescaledCFG(VP, 6.0, null, 1.0)(X, LEVEL, COND), LEVEL, "v")
    strong = coordinates(both()[0], LEVEL, "v")
    close(found.flatten(1).std(1), strong.flatten(1).std(1))
    plain = coordinates(CFG(VP, 6.0, null)(X, LEVEL, COND), LEVEL, "v")
    assert (plain.flatten(1).std(1) - strong.flatten(1).std(1)).abs().max() > 0.05


def test_spaces_differ():
    a, b = (RescaledCFG(VP, 6.0, null, 1.0, space)(X, LEVEL, COND).x0 for space in ("x0", "v"))
    assert (a - b).abs().max() > 0.05


def test_it_is_what_diffusers_has():
    guiders = pytest.importorskip("diffusers.guiders.guider_utils")
    guided, strong = normal(3, 4, 5), 2 * normal(3, 4, 5, seed=1) + 1
    close(rescale(0.7)(guided, strong), guiders.rescale_noise_cfg(guided, strong, 0.7))


def test_neutral_values():
    found, cfg = (
        method(X, LEVEL, COND).x0
        for method in (RescaledCFG(VP, 3.0, null, 0.0), CFG(VP, 3.0, null))
    )
    assert torch.equal(found, cfg)
    counted = Counted(VP)
    assert torch.equal(RescaledCFG(counted, 1.0, null)(X, LEVEL, COND).x0, both()[0].x0)
    assert counted.rows == 5
    value = normal(2, 3)
    assert torch.equal(rescale(0.0)(value, normal(2, 3, seed=1)), value)


def test_it_finishes_any_contrast():
    terms = [Term(null_branch(null), 2.0), Term(null_branch(null), 2.0)]
    found = Contrast(VP, terms, finish=rescale(0.7), space="v")(X, LEVEL, COND)
    close(found.x0, RescaledCFG(VP, 3.0, null)(X, LEVEL, COND).x0)


def test_a_sample_without_spread_stays():
    value = torch.tensor([[2.0], [3.0]])
    assert torch.equal(rescale(0.7)(value, value - 1), value)


@pytest.mark.parametrize("phi", [-0.1, 1.1])
def test_what_is_refused(phi):
    with pytest.raises(ValueError, match=r"rescaling needs a phi in \[0, 1\], 0 for none, got"):
        rescale(phi)
    with pytest.raises(ValueError, match="the space 'noise'"):
        RescaledCFG(VP, 2.0, null, 0.5, "noise")
