"""The seven features by hand, the overlap area against quadrature and closed forms."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from domains.music.metrics import (
    FEATURES,
    between,
    features,
    overlap,
    overlap_area,
    within,
)
from domains.music.roll import Notes, Roll, Rolls


def roll(*notes, columns=32):
    start, end, pitch, velocity = (np.array(x, int) for x in zip(*notes, strict=True))
    return Roll.from_notes(Notes(start, end, pitch, velocity), columns)


# C4 and E4 together, C4 again at once, then G5: (start, end, pitch, velocity)
CLIP = roll((2, 6, 60, 100), (2, 4, 64, 50), (6, 8, 60, 80), (12, 20, 79, 10))
EMPTY = Roll(np.zeros((32, 88), np.uint8), np.zeros((32, 88), bool))


def test_features_by_hand():
    found = features([CLIP])
    assert found["used_pitches"].tolist() == [[3]]
    assert found["pitch_range"].tolist() == [[19]]
    assert found["onset_interval"] == pytest.approx((0 + 4 + 6) / 3)  # the chord counts as 0
    assert found["velocity"] == pytest.approx((100 + 50 + 80 + 10) / 4)
    assert found["duration"] == pytest.approx((4 + 2 + 2 + 8) / 4)
    assert found["note_rate"] == pytest.approx(4 / 20)  # to the end of the last note
    histogram = np.zeros(12)
    histogram[[0, 4, 7]] = 4 * 100 + 2 * 80, 2 * 50, 8 * 10
    assert found["pitch_histogram"][0] == pytest.approx(histogram / 740)


def test_features_of_empty_and_lonely_clips():
    found = features([EMPTY, roll((4, 8, 60, 64))])
    assert {name: values.shape for name, values in found.items()} == {
        name: (2, 12 if name == "pitch_histogram" else 1) for name in FEATURES
    }
    assert all((values[0] == 0).all() for values in found.values())
    assert found["onset_interval"][1] == 0
    assert found["note_rate"][1] == 1 / 8
    assert found["pitch_histogram"][1].tolist() == [1] + [0] * 11


def test_features_agree_for_batches_and_rows():
    clips = [CLIP, EMPTY, roll((0, 3, 50, 90), (5, 9, 55, 70))]
    together, batch = features(clips), features(Rolls.stack(clips))
    for name in FEATURES:
        single = np.concatenate([features([clip])[name] for clip in clips])
        assert np.array_equal(single, together[name])
        assert np.array_equal(batch[name], together[name])
    with pytest.raises(ValueError, match="no clips"):
        features([])


def test_distances_by_hand():
    x, y = np.array([[0.0, 0], [3, 4], [0, 1]]), np.array([[0.0, 2]])
    assert sorted(within(x)) == pytest.approx(sorted([5, 1, math.hypot(3, 3)]))
    assert between(x, y).tolist() == pytest.approx([2, math.hypot(3, 2), 1])


def density(values):
    """Gaussian kernels of Scott's bandwidth, written out."""
    width = np.std(values, ddof=1) * len(values) ** (-1 / 5)
    return lambda x: norm.pdf((x - np.asarray(values)) / width).sum() / (len(values) * width)


@pytest.mark.parametrize("shift", [0.0, 0.7, 3.0])
def test_overlap_area_is_the_integral(shift):
    a, b = np.array([0.0, 1, 1.5, 4]), np.array([0.5, 0.6, 2, 2.5, 3]) + shift
    f, g = density(a), density(b)
    low, high = min(a.min(), b.min()), max(a.max(), b.max())
    wanted = quad(lambda x: min(f(x), g(x)), low, high, limit=400)[0]
    assert overlap_area(a, b) == pytest.approx(wanted, abs=2e-4)
    assert overlap_area(b, a) == pytest.approx(overlap_area(a, b), abs=1e-12)


def test_overlap_area_of_two_normals():
    # min of N(-d, 1) and N(d, 1) has the area 2 Phi(-d); kernels widen each by 1 + n^(-2/5)
    n, d = 4000, 1.0
    quantiles = norm.ppf((np.arange(n) + 0.5) / n)
    wanted = 2 * norm.cdf(-d / math.sqrt(1 + n ** (-2 / 5)))
    assert overlap_area(quantiles - d, quantiles + d) == pytest.approx(wanted, abs=2e-3)


@pytest.mark.parametrize(
    ("a", "b", "area"),
    [
        ([2, 2, 2], [2, 2], 1),
        ([2, 2, 2], [3, 3], 0),
        ([2, 2, 2], [1, 2, 3], 0),
        ([0], [0], 1),
        ([0.1 + 0.2] * 3, [0.3] * 3, 1),  # equal but for rounding
        ([0.1 + 0.2, 0.3], [0.0, 0.6], 0),
        (np.linspace(0, 1, 9), np.linspace(100, 101, 9), 0),
    ],
)
def test_overlap_area_of_point_masses_and_disjoint_sets(a, b, area):
    assert overlap_area(np.array(a, float), np.array(b, float)) == pytest.approx(area, abs=1e-9)


@pytest.mark.parametrize("bad", [[], [1.0, math.nan], [1.0, math.inf]])
def test_overlap_area_refuses(bad):
    with pytest.raises(ValueError, match="distances"):
        overlap_area(np.array(bad, float), np.ones(3))


def table(n, rng, shift=0.0):
    return {
        name: rng.normal(size=(n, 12 if name == "pitch_histogram" else 1)) + shift
        for name in FEATURES
    }


def test_overlap_of_the_same_law_is_near_one_and_of_another_lower():
    rng = np.random.default_rng(0)
    real, same, moved, far = (table(60, rng, shift) for shift in (0, 0, 1, 50))
    found = [overlap(real, made, np.random.default_rng(1), draws=2) for made in (same, moved, far)]
    assert found[0].mean > 0.9 > 0.85 > found[1].mean > 0.3
    assert found[2].mean < 0.01
    assert found[0].mean == pytest.approx(np.mean(list(found[0].features.values())))


def test_overlap_by_hand_for_one_draw_of_all():
    rng = np.random.default_rng(2)
    real, made = table(7, rng), table(4, rng)
    found = overlap(real, made, rng, draws=3, size=7)
    areas = [overlap_area(within(real[name]), between(real[name], made[name])) for name in FEATURES]
    assert found.mean == pytest.approx(np.mean(areas), abs=1e-9)
    assert found.sd == pytest.approx(0, abs=1e-9)


def test_overlap_ignores_the_order_and_the_unit():
    rng = np.random.default_rng(3)
    real, made = table(12, rng), table(9, rng)
    order = rng.permutation(12), rng.permutation(9)
    mixed = [
        {name: 7 * values[index] for name, values in some.items()}
        for some, index in zip((real, made), order, strict=True)
    ]
    plain = overlap(real, made, rng, draws=1, size=12)
    moved = overlap(*mixed, rng, draws=1, size=12)
    assert moved.mean == pytest.approx(plain.mean, abs=1e-9)


def test_overlap_repeats_with_its_seed_and_takes_one_clip():
    rng = np.random.default_rng(4)
    real, made = table(20, rng), table(5, rng)
    one, two, three = (overlap(real, made, np.random.default_rng(s)) for s in (0, 0, 1))
    assert one == two
    assert one.mean != three.mean
    assert one.sd > 0
    single = {name: values[:1] for name, values in made.items()}
    assert 0 < overlap(real, single, rng, size=20).mean < 1


def test_overlap_of_empty_clips_does_not_crash():
    rng = np.random.default_rng(0)
    silent, real = features([EMPTY] * 3), features([CLIP, EMPTY, roll((0, 3, 50, 90))])
    assert overlap(silent, silent, rng).mean == 1
    assert 0 <= overlap(real, silent, rng).mean < 1


@pytest.mark.parametrize("wrong", [{"size": 1}, {"size": 21}, {"draws": 0}])
def test_overlap_refuses(wrong):
    rng = np.random.default_rng(0)
    real = table(20, rng)
    with pytest.raises(ValueError, match="real clips"):
        overlap(real, real, rng, **wrong)
