"""Tangential damping against a singular value decomposition."""

import pytest
import torch

from guided import Counted
from guided.guidance import TCFG
from guided.guidance.denoise.tcfg import _damped
from guided.guidance.space import coordinates
from tests.guided.pushes import COND, LEVEL, VP, X, both, close, consistent, null


def svd_form(strong, weak, w):
    """One sample at a time, by the decomposition of (2, d)."""
    found = []
    for c, u in zip(strong.flatten(1), weak.flatten(1), strict=True):
        v = torch.linalg.svd(torch.stack([c, u]), full_matrices=False).Vh[0]
        damped = (u @ v) * v
        found.append(damped + w * (c - damped))
    return torch.stack(found).reshape(strong.shape)


@pytest.mark.parametrize("space", ["eps", "x0", "v"])
@pytest.mark.parametrize("w", [0.0, 2.5])
def test_it_is_the_form_of_the_singular_value_decomposition(w, space):
    strong, weak = (coordinates(p, LEVEL, space) for p in both())
    found = TCFG(VP, w, null, space)(X, LEVEL, COND)
    close(coordinates(found, LEVEL, space), svd_form(strong, weak, w))
    assert (svd_form(strong, weak, 2.5) - weak - 2.5 * (strong - weak)).abs().max() > 1e-3
    consistent(found)


def test_it_is_what_diffusers_has():
    guiders = pytest.importorskip("diffusers.guiders.tangential_classifier_free_guidance")
    strong, weak = (p.eps for p in both())
    expected = guiders.normalized_guidance(strong, weak, 2.5)
    close(TCFG(VP, 2.5, null)(X, LEVEL, COND).eps, expected, 1e-5)


@pytest.mark.parametrize("gap", [1e-3, 0.3])
def test_directions_that_nearly_agree_or_nearly_oppose(gap):
    """Also where the second row is longer, and where the two are orthogonal but unequal."""
    c, other = torch.zeros(4, 6, dtype=X.dtype), torch.zeros(4, 6, dtype=X.dtype)
    c[:, 0], other[:, 1] = 1.0, 1.0
    u = torch.stack([c[0] + gap * other[0], -c[0] + gap * other[0], 3 * other[0], other[0] / 3])
    close(c - _damped(c - u, c, u), svd_form(c, u, 0.0))


def test_equal_branches_are_left_alone():
    class Same(type(VP)):
        def forward(self, x, level, cond=None):
            return super().forward(x, level, None)

    denoiser = Same(VP.mixture, VP.schedule)
    close(TCFG(denoiser, 9.0, null)(X, LEVEL, COND).eps, denoiser(X, LEVEL).eps)


def test_scale_one_costs_one_call():
    counted = Counted(VP)
    assert torch.equal(TCFG(counted, 1.0, null)(X, LEVEL, COND).x0, both()[0].x0)
    assert counted.rows == 5
