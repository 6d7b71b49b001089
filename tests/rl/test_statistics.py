"""Statistics: against scipy, and intervals that cover known laws as often as they say."""

import json

import numpy as np
import pytest
from scipy.stats import beta, trim_mean

from domains.rl import statistics
from domains.rl.statistics import (
    bootstrap,
    difference,
    iqm,
    mean,
    median,
    success_rate,
    summarise,
)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 8, 101])
def test_iqm_is_scipys_trimmed_mean(count):
    scores = draw(5, count) ** 3
    np.testing.assert_allclose(iqm(scores), trim_mean(scores, 0.25, axis=1), rtol=1e-12)


def coverage(over, seeds, episodes, spread, statistic=iqm, runs=300):
    """How often the interval holds the centre 0 of symmetric scores, seeds of the given spread."""
    held = 0
    for run in range(runs):
        middle = spread * draw(seeds, 1, seed=(run, 1)) if spread else 0.0
        scores = middle + draw(seeds, episodes, seed=(run, 2))
        found = bootstrap(statistic, scores, over=over, resamples=300, seed=run)
        held += found.low <= 0 <= found.high
    return held / runs


def test_intervals_over_episodes_cover_what_these_policies_do():
    # Three standard errors of 300 coin flips of probability 0.95 are 0.038.
    assert coverage("episodes", 4, 30, 0.0) == pytest.approx(0.95, abs=0.038)


def test_only_intervals_over_seeds_cover_what_training_does():
    assert coverage("seeds", 20, 10, 1.0, mean) == pytest.approx(0.95, abs=0.038)
    assert coverage("episodes", 20, 10, 1.0, mean) < 0.6


def test_one_seed_redraws_its_episodes_either_way():
    scores = draw(1, 40)
    flat = bootstrap(median, scores[0], over="episodes")
    assert flat.value == np.median(scores)
    assert flat.low < flat.value < flat.high
    seeds = bootstrap(median, scores, over="seeds")
    assert seeds.high - seeds.low == pytest.approx(flat.high - flat.low, rel=0.15)


def test_strata_stay_where_seeds_are_fixed():
    far_apart = np.array([[0.0] * 5, [10.0] * 5])
    fixed = bootstrap(mean, far_apart, over="episodes")
    assert (fixed.value, fixed.low, fixed.high) == (5, 5, 5)
    redrawn = bootstrap(mean, far_apart, over="seeds")
    assert (redrawn.low, redrawn.high) == (0, 10)


def test_chunks_change_only_the_draws(monkeypatch):
    whole = bootstrap(mean, draw(3, 50))
    monkeypatch.setattr(statistics, "CHUNK", 1000)
    parts = bootstrap(mean, draw(3, 50))
    assert parts.value == whole.value
    assert parts.high - parts.low == pytest.approx(whole.high - whole.low, rel=0.1)


def test_pairs_cancel_what_is_hard_for_both():
    hard = 10 * draw(3, 40)
    better = hard + 0.5 + 0.1 * draw(3, 40, seed=1)
    found = difference(better, hard)
    assert found.low < 0.5 < found.high
    assert found.high - found.low < 0.15
    alone = bootstrap(mean, better)
    assert alone.high - alone.low > 2
    assert difference(better, hard, iqm).value == pytest.approx(
        trim_mean(better, 0.25, None) - trim_mean(hard, 0.25, None)
    )


@pytest.mark.parametrize(("hits", "count"), [(0, 20), (7, 20), (20, 20)])
def test_success_is_clopper_pearsons(hits, count):
    found = success_rate(np.arange(count) < hits)
    assert found.value == hits / count
    low = beta.ppf(0.025, hits, count - hits + 1) if hits else 0.0
    high = beta.ppf(0.975, hits + 1, count - hits) if hits < count else 1.0
    np.testing.assert_allclose([found.low, found.high], [low, high], rtol=1e-9)


def test_a_summary_agrees_with_its_parts_and_becomes_json():
    returns, success = draw(3, 20), draw(3, 20, seed=1) > 0
    found = summarise(returns, success, resamples=500, seed=3)
    assert found.iqm == bootstrap(iqm, returns, resamples=500, seed=3)
    assert found.mean == bootstrap(mean, returns, resamples=500, seed=3)
    assert found.success == success_rate(success)
    read = json.loads(json.dumps(found.to_json()))
    assert read["median"]["value"] == float(np.median(returns))
    assert (read["seeds"], read["episodes"], read["over"]) == (3, 20, "seeds")
    assert summarise(returns).success is None


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: bootstrap(mean, []), "give finite ones of shape"),
        (lambda: bootstrap(mean, [1.0, np.nan]), "1 of them finite"),
        (lambda: bootstrap(mean, np.zeros((2, 2, 2))), r"shape \(2, 2, 2\)"),
        (lambda: bootstrap(mean, [1.0], confidence=95), "confidence = 95"),
        (lambda: difference([1.0, 2.0], [1.0]), "the same episodes"),
        (lambda: summarise([1.0, 2.0], [True]), "2 returns and 1 successes"),
        (lambda: success_rate([]), "no episodes"),
    ],
)
def test_bad_input_is_one_sentence(wrong, said):
    with pytest.raises(ValueError, match=said):
        wrong()
