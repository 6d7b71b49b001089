"""Adaptive projected guidance against the formula, its bounds and another implementation."""

import math
import warnings

import pytest
import torch

from guided import CFG, DDIM, Counted, Rng
from guided.exact import Mixture
from guided.guidance import APG, project
from guided.schedule import uniform
from tests.guided.pushes import (
    COND,
    F64,
    LEVEL,
    VP,
    X,
    both,
    close,
    consistent,
    null,
    per,
    products,
)


def apg(scale=4.0, **options):
    method = APG(VP, scale, null, **options)
    method.looked = True
    return method(X, LEVEL, COND)


def test_without_projection_and_cap_it_is_cfg_bit_for_bit():
    found, cfg = apg(eta=1.0), CFG(VP, 4.0, null)(X, LEVEL, COND)
    assert torch.equal(found.x0, cfg.x0) and torch.equal(found.eps, cfg.eps)


def test_the_push_is_orthogonal_to_the_conditional_prediction():
    strong, weak = both()
    push = apg().x0 - strong.x0
    close(products(push, strong.x0), torch.zeros(5, dtype=F64), 1e-12)
    assert products(strong.x0 - weak.x0, strong.x0).abs().min() > 0.01
    consistent(apg())


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_the_push_is_the_formula(eta):
    strong, weak = both()
    expected = []
    for c, u in zip(strong.x0, weak.x0, strict=True):
        delta = c - u
        r = 0.1 * math.sqrt(delta.numel())
        delta = delta * min(1, r / delta.norm().item())
        parallel = (delta * c).sum() / (c * c).sum() * c
        expected.append(c + 3 * (delta - parallel + eta * parallel))
    close(apg(eta=eta, radius=0.1).x0, torch.stack(expected))


def test_the_push_is_at_most_w_minus_one_radii():
    strong, weak = both()
    rms = (strong.x0 - weak.x0).square().mean((1, 2)).sqrt()
    radius = rms.median().item()
    push = (apg(radius=radius).x0 - strong.x0).square().mean((1, 2)).sqrt()
    assert (push <= 3 * radius * (1 + 1e-12)).all() and (rms > radius).any()
    capped = (apg(radius=radius, eta=1.0).x0 - strong.x0).square().mean((1, 2)).sqrt()
    close(capped, 3 * rms.clamp(max=radius))


def test_norms_over_some_axes_treat_the_others_as_samples():
    strong, weak = both()
    found = apg(radius=0.1, dims=(-1,)).x0
    for token in range(X.shape[1]):
        c, u = strong.x0[:, token], weak.x0[:, token]
        delta = c - u
        delta = delta * (0.1 / delta.square().mean(1, keepdim=True).sqrt()).clamp(max=1)
        along = (delta * c).sum(1, keepdim=True) / (c * c).sum(1, keepdim=True)
        close(found[:, token], c + 3 * (delta - along * c))


@pytest.mark.parametrize("dims", [None, (-1,)])
def test_it_is_what_diffusers_has(dims):
    guiders = pytest.importorskip("diffusers.guiders.adaptive_projected_guidance")
    strong, weak = both()
    width = X.shape[2] if dims else X[0].numel()
    expected = guiders.normalized_guidance(
        strong.x0,
        weak.x0,
        guidance_scale=3.0,
        eta=0.3,
        norm_threshold=0.1 * math.sqrt(width),
        use_original_formulation=True,
        norm_dim=dims,
    )
    close(apg(eta=0.3, radius=0.1, dims=dims).x0, expected)


def test_scale_one_is_the_conditional_model_with_one_call():
    counted = Counted(VP)
    found = APG(counted, 1.0, null, eta=0.2, radius=0.1)(X, LEVEL, COND)
    assert torch.equal(found.x0, both()[0].x0)
    assert (counted.calls, counted.rows) == (1, 5)


def test_a_projection_in_another_space_is_another_method():
    strong, weak = both()
    delta = strong.eps - weak.eps
    share = products(delta, strong.eps) / products(strong.eps, strong.eps)
    in_eps = strong.eps + 3 * (delta - per(share) * strong.eps)
    assert (apg().eps - in_eps).abs().max() > 0.1


def test_single_precision_stays_and_projects_in_double():
    x, denoiser = X.float(), VP
    method = APG(denoiser, 4.0, null)
    method.looked = True
    found = method(x, LEVEL, COND).x0
    assert found.dtype == torch.float32
    close(found, apg().x0.float(), 1e-5)


def test_where_the_strong_prediction_is_zero_nothing_is_taken_away():
    delta, zero = torch.ones(2, 3), torch.zeros(2, 3)
    assert torch.equal(project(0.0)(delta, zero, -delta), delta)


def test_data_off_centre_are_warned_of_once():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        APG(VP, 2.0, null)(X, LEVEL, COND)
        aside = Mixture(VP.mixture.weights, VP.mixture.means + 4, torch.tensor(0.3))
        aside = aside.denoiser(VP.schedule, VP.classes)
        method = APG(aside, 2.0, null)
        with pytest.warns(
            UserWarning, match="APG projects about the centre of the data, .* mean [34]"
        ):
            method(X, LEVEL, COND)
        method(X, LEVEL, COND)
        APG(aside, 1.0, null)(X, LEVEL, COND)
        APG(aside, 2.0, null, eta=1.0, radius=1.0)(X, LEVEL, COND)


def test_samples_are_less_saturated_than_those_of_cfg():
    cond = torch.zeros(64, dtype=torch.long)
    x = Rng(0).normal((64, 4, 3), F64)
    plain, projected = (
        DDIM(method).sample(x, uniform(12, start=0.99), cond, rng=Rng(0)).abs().mean().item()
        for method in (CFG(VP, 12.0, null), APG(VP, 12.0, null, radius=0.2))
    )
    assert projected < plain


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"radius": 0.0}, "the radius of a cap is positive"),
        ({"radius": -1.0}, "got -1.0"),
        ({"eta": math.nan}, "finite, and 1 is neutral; got eta=nan"),
        ({"dims": (0, 1)}, "axis 0 is the sample"),
        ({"dims": ()}, r"such as \(-1,\); got dims=\[\]"),
    ],
)
def test_what_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        APG(VP, 2.0, null, **options)


@pytest.mark.parametrize("dims", [(3,), (-3,), (-4,)])
def test_axes_that_do_not_exist_are_refused_in_the_call(dims):
    with pytest.raises(ValueError, match=r"the axes of a sample are 1 to 2 for x of shape \(5, 4,"):
        apg(dims=dims)


def test_the_projection_is_about_the_centre_of_the_data():
    """Data moved by m, and the centre with them: the same samples, moved by m."""
    delta, strong = (Rng(s).normal((3, 6), torch.float64) for s in (0, 1))
    at_origin = project(0.2)(delta, strong, strong - delta)
    moved = project(0.2, centre=5.0)(delta, strong + 5, strong + 5 - delta)
    torch.testing.assert_close(moved, at_origin)
    assert not torch.allclose(project(0.2)(delta, strong + 5, strong + 5 - delta), at_origin)
