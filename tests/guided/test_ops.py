"""What all methods with a changed push share, whatever they do to it."""

import pytest
import torch

from guided import Between
from guided.guidance import (
    APG,
    SCFG,
    TCFG,
    CFGZeroStar,
    FrequencyGuidance,
    RescaledCFG,
    cap,
    low_pass,
)
from tests.guided.pushes import COND, LEVEL, VP, X, close, null

BANDS = low_pass(1.0, (1,))
REGIONS = torch.eye(4)[:, :, None]


def apg(denoiser, w):
    method = APG(denoiser, w, null, radius=0.2)
    method.looked = True
    return method


METHODS = {
    "APG": apg,
    "RescaledCFG": lambda d, w: RescaledCFG(d, w, null),
    "CFGZeroStar": lambda d, w: CFGZeroStar(d, w, null),
    "TCFG": lambda d, w: TCFG(d, w, null),
    "FrequencyGuidance": lambda d, w: FrequencyGuidance(d, (w, w), null, BANDS),
    "SCFG": lambda d, w: SCFG(d, w, null, REGIONS),
}
methods = pytest.mark.parametrize("make", METHODS.values(), ids=METHODS.keys())


class Same(type(VP)):
    """Blind to its condition."""

    def forward(self, x, level, cond=None):
        return super().forward(x, level, None)


@methods
def test_a_scale_for_every_request_is_a_loop(make):
    scales = torch.tensor([0.5, 1.0, 2.0, 3.0, 7.0], dtype=X.dtype)
    found = make(VP, scales)(X, LEVEL, COND)
    for i, w in enumerate(scales.tolist()):
        alone = make(VP, w)(X[i : i + 1], LEVEL, COND[i : i + 1])
        close(found.x0[i : i + 1], alone.x0)
        close(found.eps[i : i + 1], alone.eps)


def test_a_cap_has_a_slope_where_branches_agree():
    delta = torch.zeros(2, 3, dtype=X.dtype)
    delta[1] = torch.tensor([3.0, 0, 4])
    delta.requires_grad_()
    found = cap(0.1)(delta, delta, delta)
    (slope,) = torch.autograd.grad(found.sum(), delta)
    close(slope[0], torch.ones(3, dtype=X.dtype))
    # r / rms (I - d d^T / |d|^2) 1, with |d| = 5
    unit = delta[1].detach() / 5
    close(slope[1], 0.1 * 3**0.5 / 5 * (1 - unit * unit.sum()))


@methods
def test_equal_branches_are_left_alone(make):
    same = Same(VP.mixture, VP.schedule)
    found, expected = make(same, 8.0)(X, LEVEL, COND), same(X, LEVEL)
    close(found.x0, expected.x0)
    close(found.eps, expected.eps)


@methods
def test_a_scale_may_depend_on_the_level(make):
    def scale(level):
        return 3.0 if level.t < 0.5 else 1.0

    close(make(VP, scale)(X, LEVEL, COND).x0, make(VP, 3.0)(X, LEVEL, COND).x0)
    late = VP.schedule.level(0.6)
    assert torch.equal(make(VP, scale)(X, late, COND).x0, VP(X, late, COND).x0)


@methods
def test_it_is_limited_to_an_interval(make):
    here = LEVEL.noise_to_signal
    inside, outside = Between(make(VP, 3.0), high=here), Between(make(VP, 3.0), low=here)
    assert torch.equal(inside(X, LEVEL, COND).x0, make(VP, 3.0)(X, LEVEL, COND).x0)
    assert torch.equal(outside(X, LEVEL, COND).x0, VP(X, LEVEL, COND).x0)


@methods
def test_finite_at_both_ends(make):
    for t in (0.999, 1e-3):
        level = VP.schedule.level(t)
        found = make(VP, 8.0)(level.sigma * X, level, COND)
        assert found.x0.isfinite().all() and found.eps.isfinite().all()


@methods
def test_single_precision_gives_the_same(make):
    found = make(VP, 3.0)(X.float(), LEVEL, COND)
    assert found.x0.dtype == torch.float32
    close(found.x0, make(VP, 3.0)(X, LEVEL, COND).x0.float(), 2e-5)
