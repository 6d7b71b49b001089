"""Joint and marginal errors of windows, by hand and by loops."""

import re

import numpy as np
import pytest

from domains.trajectory.metrics import (
    WindowScores,
    average_errors,
    collision_rates,
    final_errors,
    joint_errors,
)


def random_window(rng, worlds=4, people=5, steps=6):
    truth = rng.normal(size=(people, steps, 2)).cumsum(1)
    return truth + rng.normal(size=(worlds, people, steps, 2)), truth


def with_gaps(rng, truth):
    truth = truth.copy()
    truth[rng.random(truth.shape[:2]) < 0.4] = np.nan
    truth[1] = np.nan
    truth[0, :, 1] = np.nan  # half a point is no point
    truth[2, 3] = (1.0, 2.0)
    return truth


def errors_by_loops(worlds, truth):
    """Return lists (K, P) of ADE and FDE of the people who have a step to compare with."""
    average, final = [], []
    for world in worlds:
        gaps = [
            [np.hypot(*(x - y)) for x, y in zip(*path, strict=True) if not np.isnan(y).any()]
            for path in zip(world, truth, strict=True)
        ]
        average.append([sum(row) / len(row) for row in gaps if row])
        final.append([row[-1] for row in gaps if row])
    return np.array(average), np.array(final)


@pytest.mark.parametrize("gaps", [False, True])
def test_equals_loops(gaps):
    rng = np.random.default_rng(3)
    worlds, truth = random_window(rng)
    truth = with_gaps(rng, truth) if gaps else truth
    ade, fde = errors_by_loops(worlds, truth)
    found = joint_errors(worlds, truth)
    assert found.ade.shape == (4, 3 if gaps else 5)
    np.testing.assert_allclose(found.ade, ade, rtol=1e-12)
    np.testing.assert_allclose(found.fde, fde, rtol=1e-12)
    assert found.min_jade == pytest.approx(min(row.mean() for row in ade))
    assert found.min_jfde == pytest.approx(min(row.mean() for row in fde))
    assert found.mean_jade == pytest.approx(ade.mean())
    assert found.mean_jfde == pytest.approx(fde.mean())
    assert found.min_ade == pytest.approx(np.mean([min(row) for row in ade.T]))
    assert found.min_fde == pytest.approx(np.mean([min(row) for row in fde.T]))
    assert found.min_ade < found.min_jade < found.mean_jade


def test_those_who_were_never_seen_are_no_number():
    worlds, truth = np.ones((2, 3, 4, 2)), np.zeros((3, 4, 2))
    truth[1] = np.nan
    for errors in (average_errors(worlds, truth), final_errors(worlds, truth)):
        np.testing.assert_allclose(errors[:, [0, 2]], np.sqrt(2))
        assert np.isnan(errors[:, 1]).all()


def test_a_joint_world_has_to_be_right_about_everybody():
    truth = np.zeros((2, 2, 2))
    worlds = np.zeros((2, 2, 2, 2))
    worlds[0, 0, :, 0] = 6.0  # each world is right about one person only
    worlds[1, 1, :, 0] = [2.0, 6.0]
    found = joint_errors(worlds, truth)
    assert (found.min_ade, found.min_fde) == (0.0, 0.0)
    assert (found.min_jade, found.min_jfde) == (2.0, 3.0)
    assert (found.mean_jade, found.mean_jfde) == (2.5, 3.0)


def test_windows_and_people_are_averaged_apart():
    scores = WindowScores()
    scores.add(np.ones((1, 3, 2, 2)) * [3.0, 4.0], np.zeros((3, 2, 2)))
    scores.add(np.ones((1, 1, 2, 2)) * [1.0, 0.0], np.zeros((1, 2, 2)))
    found = scores.summary()
    assert (found.windows, found.people, found.worlds) == (2, 4, 1)
    assert found.ade == found.fde == found.mean_ade == (3 * 5 + 1) / 4
    assert found.jade == found.jfde == found.mean_jfde == (5 + 1) / 2
    assert found.cr_mean == found.cr_jade == 0.5  # three at one place; the lone one never


def test_summary_equals_loops():
    rng = np.random.default_rng(22)
    windows = [random_window(rng, people=n) for n in (2, 6, 1, 3)]
    scores, people, rows = WindowScores(0.3), [], []
    for worlds, truth in windows:
        scores.add(worlds, truth)
        ade, fde = errors_by_loops(worlds, truth)
        for a, f in zip(ade.T, fde.T, strict=True):
            people.append([min(a), min(f), np.mean(a), np.mean(f)])
        jade, jfde = [np.mean(row) for row in ade], [np.mean(row) for row in fde]
        rates = [collision_rates(world[None], 0.3).item() for world in worlds]
        best = rates[jade.index(min(jade))]
        rows.append([min(jade), min(jfde), *map(np.mean, (jade, jfde, rates)), best, min(rates)])
    found = scores.summary()
    marginal = (found.ade, found.fde, found.mean_ade, found.mean_fde)
    np.testing.assert_allclose(marginal, np.mean(people, 0), rtol=1e-12)
    joint = (found.jade, found.jfde, found.mean_jade, found.mean_jfde, found.cr_mean, found.cr_jade)
    *expected, least = np.mean(rows, 0)
    np.testing.assert_allclose(joint, expected, rtol=1e-12)
    assert (found.windows, found.people, found.worlds) == (4, 12, 4)
    assert least < found.cr_jade  # the best world is not the one with the fewest collisions


def test_orders_do_not_matter():
    rng = np.random.default_rng(8)
    windows = [random_window(rng, people=n) for n in (1, 4, 7)]
    scores, others = WindowScores(0.5), WindowScores(0.5)
    for worlds, truth in windows:
        scores.add(worlds, truth)
    for worlds, truth in reversed(windows):
        k, n = rng.permutation(4), rng.permutation(len(truth))
        others.add(worlds[k][:, n], truth[n])
    assert vars(others.summary()) == pytest.approx(vars(scores.summary()), abs=1e-12)
    assert scores.summary().cr_mean > 0


def test_people_who_were_never_seen_may_be_hit_but_are_not_scored():
    worlds = np.zeros((1, 2, 3, 2))
    truth = np.full((2, 3, 2), 1.0)
    truth[1] = np.nan
    scores = WindowScores()
    scores.add(worlds, truth)
    assert (scores.summary().people, scores.summary().cr_mean) == (1, 1.0)
    assert collision_rates(worlds[:, :1]) == 0


def test_mistakes_are_named():
    scores = WindowScores()
    with pytest.raises(ValueError, match="no window was added"):
        scores.summary()
    scores.add(np.zeros((2, 1, 3, 2)), np.zeros((1, 3, 2)))
    with pytest.raises(ValueError, match="this window has 3 worlds and those before 2"):
        scores.add(np.zeros((3, 1, 3, 2)), np.zeros((1, 3, 2)))
    with pytest.raises(ValueError, match="none of the 1 agents was seen after now"):
        scores.add(np.zeros((2, 1, 3, 2)), np.full((1, 3, 2), np.nan))
    with pytest.raises(ValueError, match=re.escape("needs shape (1, 3, 2), got (1, 2, 2)")):
        joint_errors(np.zeros((2, 1, 3, 2)), np.zeros((1, 2, 2)))
    assert scores.summary().windows == 1  # what was refused left no trace
