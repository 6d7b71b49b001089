"""Bands against scipy and convolutions, and guidance band by band."""

import math

import pytest
import torch
from scipy import fft
from torch.nn import functional

from guided import CFG, Counted
from guided.guidance import (
    APG,
    FrequencyGuidance,
    cap,
    dct_split,
    down_up,
    low_pass,
    project,
)
from guided.guidance.space import coordinates
from tests.guided.draws import normal
from tests.guided.pushes import COND, LEVEL, VP, X, both, close, consistent, null

SPLITS = {
    "gauss": low_pass(0.8, (1,)),
    "gauss-2": low_pass(0.8, (-2, -1)),
    "dct": dct_split(0.5, (1,)),
    "dct-2": dct_split(0.5, (1, 2)),
    "down": down_up(2.0),
}
splits = pytest.mark.parametrize("bands", SPLITS.values(), ids=SPLITS.keys())


@splits
def test_bands_sum_to_the_identity_keep_constants_low_and_are_linear(bands):
    low, high = bands
    x, y = normal(2, 4, 6), normal(2, 4, 6, seed=1)
    close(low(x) + high(x), x)
    close(low(torch.ones_like(x)), torch.ones_like(x))
    close(low(2 * x - 3 * y), 2 * low(x) - 3 * low(y))
    assert high(x).abs().max() > 0.1


def test_the_gaussian_is_a_normalised_convolution():
    x, sigma = normal(2, 3, 40), 1.5
    kernel = torch.tensor(
        [math.exp(-0.5 * (k / sigma) ** 2) for k in range(-39, 40)], dtype=x.dtype
    )
    rows, kernel = x.reshape(6, 1, 40), kernel.reshape(1, 1, -1)
    blurred = functional.conv1d(rows, kernel, padding=39)
    blurred = blurred / functional.conv1d(torch.ones_like(rows), kernel, padding=39)
    close(low_pass(sigma, (2,))[0](x), blurred.reshape(x.shape))


def test_the_cosines_are_those_of_scipy():
    x = normal(2, 8, 6)
    coefficients = fft.dctn(x.numpy(), axes=(1, 2), norm="ortho")
    coefficients[:, 2:] = 0  # round(0.3 * 8) = 2
    coefficients[:, :, 2:] = 0  # round(0.3 * 6) = 2
    low, high = dct_split(0.3, (1, 2))
    expected = torch.from_numpy(fft.idctn(coefficients, axes=(1, 2), norm="ortho"))
    close(low(x), expected)
    close(low(low(x)), low(x))
    close((low(x) * high(x)).sum((1, 2)), torch.zeros(2, dtype=x.dtype))


def test_shrinking_and_growing_is_that_of_interpolate():
    x = normal(2, 3, 8, 12)
    small = functional.interpolate(x, size=(3, 5), mode="bilinear")
    expected = functional.interpolate(small, size=(8, 12), mode="bilinear")
    low, _ = down_up(2.5)
    close(low(x), expected)
    assert (low(low(x)) - low(x)).abs().max() > 0.01  # no projection


@splits
def test_equal_scales_are_cfg(bands):
    found = FrequencyGuidance(VP, (2.5, 2.5), null, bands)(X, LEVEL, COND)
    expected = CFG(VP, 2.5, null)(X, LEVEL, COND)
    close(found.x0, expected.x0)
    close(found.eps, expected.eps)


@splits
@pytest.mark.parametrize("space", ["x0", "eps", "v"])
def test_it_is_the_formula_in_every_space(bands, space):
    strong, weak = (coordinates(p, LEVEL, space) for p in both())
    low, high = bands
    expected = weak + 1.5 * low(strong - weak) + 4 * high(strong - weak)
    found = FrequencyGuidance(VP, (1.5, 4.0), null, bands)(X, LEVEL, COND)
    close(coordinates(found, LEVEL, space), expected)
    consistent(found)


def test_with_cosines_the_low_band_is_that_of_cfg_with_its_scale():
    low, high = bands = dct_split(0.5, (1,))
    found = FrequencyGuidance(VP, (1.5, 4.0), null, bands)(X, LEVEL, COND).x0
    close(low(found), low(CFG(VP, 1.5, null)(X, LEVEL, COND).x0))
    close(high(found), high(CFG(VP, 4.0, null)(X, LEVEL, COND).x0))


def test_more_than_two_bands():
    def of(low, high):
        def band(x):
            spectrum = torch.fft.rfft(x, dim=1)
            kept = torch.zeros_like(spectrum)
            kept[:, low:high] = spectrum[:, low:high]
            return torch.fft.irfft(kept, n=x.shape[1], dim=1)

        return band

    bands = (of(0, 1), of(1, 2), of(2, 3))
    found = FrequencyGuidance(VP, (1.0, 2.0, 3.0), null, bands)(X, LEVEL, COND).x0
    strong, weak = (p.x0 for p in both())
    delta = strong - weak
    close(found, strong + bands[1](delta) + 2 * bands[2](delta))


def test_ops_within_a_band_see_the_band():
    """One band is all of APG; of two, the push in each is orthogonal to the prediction there."""
    ops = (cap(0.1), project(0.0))
    whole = FrequencyGuidance(VP, (3.0,), null, (lambda x: x,), ops)(X, LEVEL, COND)
    apg = APG(VP, 3.0, null, radius=0.1)
    apg.looked = True
    close(whole.x0, apg(X, LEVEL, COND).x0)
    low, high = bands = dct_split(0.5, (1,))
    strong = both()[0].x0
    push = FrequencyGuidance(VP, (3.0, 5.0), null, bands, ops)(X, LEVEL, COND).x0 - strong
    for band, w in ((low, 3.0), (high, 5.0)):
        close((band(push) * band(strong)).sum((1, 2)), torch.zeros(5, dtype=X.dtype))
        rms = band(push).square().mean((1, 2)).sqrt()
        assert 0.01 < rms.max() <= 0.1 * (w - 1) * (1 + 1e-12)


def test_a_network_call_evaluates_both_branches_once():
    counted = Counted(VP)
    method = FrequencyGuidance(counted, (2.0, 3.0), null, SPLITS["gauss"])
    method(X, LEVEL, COND)
    assert (counted.calls, counted.rows) == (1, 10)
    counted.reset()
    neutral = FrequencyGuidance(counted, (1.0, 1.0), null, SPLITS["gauss"])
    assert torch.equal(neutral(X, LEVEL, COND).x0, both()[0].x0)
    assert (counted.calls, counted.rows) == (1, 5)


def test_a_band_made_in_inference_mode_lets_gradients_pass():
    low, _ = low_pass(1.0, (1,))
    with torch.inference_mode():
        low(X)
    x = X.clone().requires_grad_()
    low(x).square().sum().backward()
    assert x.grad.abs().max() > 0


def test_what_is_refused():
    low, high = SPLITS["gauss"]
    with pytest.raises(ValueError, match="one scale for every band, got 1 scales and 2 bands"):
        FrequencyGuidance(VP, (2.0,), null, (low, high))
    with pytest.raises(ValueError, match="got 0 scales and 0 bands"):
        FrequencyGuidance(VP, (), null, ())
    with pytest.raises(ValueError, match=r"the bands sum to the identity, but .* are off by"):
        FrequencyGuidance(VP, (2.0, 3.0), null, (low, low))(X, LEVEL, COND)
    with pytest.raises(ValueError, match="a band has the shape of the sample, got"):
        FrequencyGuidance(VP, (2.0,), null, (lambda x: x[:, :2],))(X, LEVEL, COND)
    with pytest.raises(ValueError, match="the width of a low pass is positive, got sigma=0"):
        low_pass(0, (1,))
    for cut in (0.0, 1.5):
        with pytest.raises(ValueError, match=r"low cosines is in \(0, 1\], got cut="):
            dct_split(cut, (1,))
    with pytest.raises(ValueError, match=r"the factor of shrinking is at least 1, got 0.5"):
        down_up(0.5)
    for make in (lambda d: low_pass(1.0, d), lambda d: dct_split(0.5, d), lambda d: down_up(2, d)):
        with pytest.raises(ValueError, match="axis 0 is the sample"):
            make((0,))
