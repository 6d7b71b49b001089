"""Figures of safety against hand-computed values, and what they say to wrong input."""

import numpy as np
import pytest

from domains.rl.safe.judgement import (
    calibration_by_margin,
    conformal_threshold,
    false_safe,
    infeasible_iou,
)
from domains.rl.safe.risk import cvar, normalised_cost, time_to_violation, violation_probability


def test_the_probability_of_a_violation_is_exact():
    found = violation_probability([0, 0, 0.5, 7] + [0] * 6)
    assert found.value == 0.2
    # Clopper-Pearson of 2 in 10, from published tables
    assert (found.low, found.high) == (
        pytest.approx(0.0252, abs=1e-4),
        pytest.approx(0.5561, abs=1e-4),
    )
    none = violation_probability(np.zeros(300))
    assert none.low == none.value == 0 and none.high == pytest.approx(1 - 0.025 ** (1 / 300))


def test_cvar_counts_the_last_episode_in_part():
    costs = [3, 9, 1, 5, 7]
    assert cvar(costs, 0.2) == 9
    assert cvar(costs, 0.4) == 8
    assert cvar(costs, 0.5) == pytest.approx((9 + 7 + 0.5 * 5) / 2.5)
    assert cvar(costs, 0.05) == 9  # a quarter of the worst episode
    assert cvar(costs, 1.0) == 5
    assert cvar([4.0]) == 4


def test_cvar_is_the_least_of_rockafellars_formula():
    costs = np.random.default_rng(0).exponential(size=37)
    levels = np.linspace(0, costs.max(), 20001)[:, None]
    for alpha in (0.1, 0.33, 0.8):
        bound = levels[:, 0] + np.maximum(costs - levels, 0).mean(1) / alpha
        assert cvar(costs, alpha) == pytest.approx(bound.min(), abs=1e-3)


def test_the_normalised_cost_is_dsrls():
    np.testing.assert_array_equal(normalised_cost([0, 5, 12], 10), [0, 0.5, 1.2])
    np.testing.assert_array_equal(normalised_cost([0, 5], 0), [1, 6])
    np.testing.assert_array_equal(normalised_cost(1.0, 0.5), 2.0)


def test_times_to_the_first_violation_count_from_one_and_include_never():
    found = time_to_violation([-1, 0, 4, 9, -1])
    assert (found.episodes, found.never, found.earliest) == (5, 2, 1)
    assert (found.median, found.median_of_violating) == (10, 5)
    assert time_to_violation([0, 3, 5, -1]).median == 5
    assert time_to_violation([0, 3, -1, -1]).median is None  # of the middle two, one never does
    none = time_to_violation([-1, -1])
    assert none.never == 2 and none.median is none.median_of_violating is none.earliest is None


def test_false_safe_calls_are_counted_among_the_unsafe_and_among_the_calls():
    unsafe = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0], dtype=bool)
    called = np.array([1, 0, 0, 0, 1, 1, 1, 1, 0, 0], dtype=bool)
    found = false_safe(called, unsafe)
    assert found.of_unsafe.value == 0.25 and found.of_called_safe.value == 0.2
    # Clopper-Pearson of 1 in 4 and 1 in 5
    assert found.of_unsafe.high == pytest.approx(0.8059, abs=1e-4)
    assert found.of_called_safe.high == pytest.approx(0.7164, abs=1e-4)
    assert false_safe(~unsafe & False, unsafe).of_called_safe is None
    assert false_safe(called, unsafe & False).of_unsafe is None


def test_the_iou_is_of_the_infeasible():
    truth = np.zeros((10, 10), dtype=bool)
    truth[:2] = True
    predicted = np.zeros_like(truth)
    predicted[1:4] = True
    assert infeasible_iou(predicted, truth) == 10 / 40
    assert infeasible_iou(truth, truth) == infeasible_iou(truth & False, truth & False) == 1
    assert infeasible_iou(truth & False, truth) == 0


def test_calibration_has_bins_of_equally_many_states():
    margins = np.array([0.4, -3, -2, 0.1, -1, 0.2, -4, 0.3])
    found = calibration_by_margin(margins, margins > 0.15, bins=4)
    assert [(b.low, b.high, b.count, b.violated.value) for b in found] == [
        (-4, -3, 2, 0), (-2, -1, 2, 0), (0.1, 0.2, 2, 0.5), (0.3, 0.4, 2, 1),
    ]  # fmt: skip
    assert [b.mean for b in found] == pytest.approx([-3.5, -1.5, 0.15, 0.35])
    assert found[0].violated.high == pytest.approx(1 - 0.025**0.5)


def test_bins_of_given_edges_and_of_equal_margins():
    margins, flags = np.array([-1.0, 0, 0, 0, 2]), np.array([0, 0, 1, 1, 1], dtype=bool)
    found = calibration_by_margin(margins, flags, [0, 1, 9])
    assert [(b.low, b.count) for b in found] == [(-1, 1), (0, 3), (2, 1)]
    together = calibration_by_margin(margins, flags, bins=5)  # the three zeros are in one
    assert [(b.low, b.count) for b in together] == [(-1, 1), (0, 3), (2, 1)]
    assert together[1].violated.value == 2 / 3
    assert len(calibration_by_margin(np.ones(9), np.ones(9, dtype=bool))) == 1


def test_the_conformal_threshold_is_an_order_statistic():
    scores = np.arange(1.0, 20)[::-1]  # 19 states
    assert conformal_threshold(scores, 0.05) == 1
    assert conformal_threshold(scores, 0.1) == 2
    assert conformal_threshold(scores, 0.149) == 2
    assert conformal_threshold(np.arange(1.0, 30), 0.1) == 3  # 0.1 * 30 is not rounded down
    assert conformal_threshold(np.arange(1.0, 100), 0.29) == 29


def test_the_conformal_promise_holds_exactly():
    """Leave each of n + 1 states out in turn: floor(alpha (n + 1)) of them are called safe."""
    scores = np.random.default_rng(1).normal(size=40)
    for alpha in (0.03, 0.1, 0.25):
        wrong = [s < conformal_threshold(np.delete(scores, i), alpha) for i, s in enumerate(scores)]
        assert np.mean(wrong) == np.floor(alpha * 40) / 40
    tied = np.repeat([0.0, 1.0], 20)
    wrong = [s < conformal_threshold(np.delete(tied, i), 0.1) for i, s in enumerate(tied)]
    assert np.mean(wrong) <= 0.1


def test_too_few_states_are_told_how_many_there_must_be():
    with pytest.raises(ValueError, match=r"got 18 unsafe states .* give at least 19"):
        conformal_threshold(np.zeros(18), 0.05)
    conformal_threshold(np.zeros(19), 0.05)
    with pytest.raises(ValueError, match="give at least 3,"):
        conformal_threshold([], 0.3)
    conformal_threshold(np.zeros(3), 0.3)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: violation_probability([]), "give at least one number"),
        (lambda: violation_probability([0, np.nan]), r"with \[nan\]"),
        (lambda: cvar([1.0], 0.0), "alpha = 0.0"),
        (lambda: cvar([-1.0]), r"costs of shape \(1,\) with \[-1.0\]"),
        (lambda: normalised_cost([1.0], -1), "the cost limit -1; give a finite one"),
        (lambda: normalised_cost([1.0], np.nan), "the cost limit nan"),
        (lambda: time_to_violation([]), "one per episode"),
        (lambda: time_to_violation([-2]), "-1 for none"),
        (lambda: false_safe([0.2, 0.3], [True, False]), "booleans of one shape"),
        (lambda: infeasible_iou([True], [True, False]), r"bool \(1,\) and bool \(2,\)"),
        (lambda: calibration_by_margin([np.nan], [True]), "finite ones"),
        (lambda: calibration_by_margin([1.0], [True, True]), "1 margins and 2 outcomes"),
        (lambda: calibration_by_margin([1.0], [True], 0), "0 bins"),
        (lambda: calibration_by_margin([1.0], [True], [2, 1]), "increase"),
        (lambda: conformal_threshold([1.0, np.nan], 0.5), "1 of them NaN"),
        (lambda: conformal_threshold([1.0], 1.0), "alpha = 1.0"),
    ],
)  # fmt: skip
def test_wrong_input_is_one_sentence(call, said):
    with pytest.raises(ValueError, match=said) as raised:
        call()
    assert "\n" not in str(raised.value)
