"""A few worlds for many samples."""

import itertools

import numpy as np
import pytest

from domains.trajectory.selection import snapped, worlds


def straight(*ends):
    """Return samples (S, N, 2, 2): S rows of N ends on the x axis, halfway first."""
    x = np.array(ends, float)
    x = x.reshape(len(ends), -1)
    path = np.stack([x / 2, x], axis=-1)
    return np.stack([path, np.zeros_like(path)], axis=-1)


def drawn(samples=30, agents=3, steps=4, seed=0):
    return np.random.default_rng(seed).normal(size=(samples, agents, steps, 2)).cumsum(2)


def gap(a, b):
    """Return d of two futures (F, 2), as the docstring has it."""
    each = np.sqrt(((a - b) ** 2).sum(-1))
    return each.mean() + 0.5 * each[-1]


def missed(samples, chosen):
    """Return the sum over samples and agents of the way to the nearest chosen one."""
    return sum(
        min(gap(sample[n], samples[k][n]) for k in chosen)
        for sample in samples
        for n in range(samples.shape[1])
    )


def test_two_groups_are_covered_with_their_shares():
    samples = straight(0.0, 0.1, 0.2, 10.0, 10.0, 10.0, 10.0, 10.0)
    found, shares = worlds(samples, 2)
    np.testing.assert_allclose(shares, [5 / 8, 3 / 8])
    np.testing.assert_allclose(found[:, 0, -1, 0], [10.0, 0.1])


def test_every_agent_is_covered_though_no_sample_has_both():
    """Agent 0 goes left or right, agent 1 far or near; three samples show all four."""
    samples = straight((0, 0), (0, 0), (0, 0), (8, 0), (0, 8))
    found, shares = worlds(samples, 3)
    assert {tuple(world[:, -1, 0]) for world in found} == {(0, 0), (8, 0), (0, 8)}
    np.testing.assert_allclose(shares, [0.6, 0.2, 0.2])


def test_the_first_choice_is_the_best_one():
    samples = drawn()
    (found,), shares = worlds(samples, 1)
    best = min(range(len(samples)), key=lambda k: missed(samples, [k]))
    np.testing.assert_array_equal(found, samples[best])
    assert shares.tolist() == [1.0]


def test_the_choice_is_nearly_the_best_of_all():
    """A greedy choice lowers the cost by at least 1 - 1/e of what the best pair does."""
    samples = drawn(12, 2)
    found, _ = worlds(samples, 2)
    chosen = [int(np.flatnonzero((samples == one).all((1, 2, 3)))[0]) for one in found]
    one = min(missed(samples, [k]) for k in range(12))
    best = min(missed(samples, pair) for pair in itertools.combinations(range(12), 2))
    greedy = missed(samples, chosen)
    assert best <= greedy <= one
    assert one - greedy >= (1 - 1 / np.e) * (one - best)


def test_worlds_are_different_samples_likeliest_first_and_their_shares_sum_to_one():
    samples = drawn()
    found, shares = worlds(samples, 7)
    index = [np.flatnonzero((samples == one).all((1, 2, 3))) for one in found]
    assert all(len(i) == 1 for i in index) and len({int(i[0]) for i in index}) == 7
    assert shares.sum() == pytest.approx(1) and (np.diff(shares) <= 0).all()
    near = [
        min(range(7), key=lambda k: sum(gap(s[n], found[k, n]) for n in range(3))) for s in samples
    ]
    np.testing.assert_allclose(shares, np.bincount(near, minlength=7) / 30)


@pytest.mark.parametrize("count", [30, 31])
def test_as_many_worlds_as_samples_are_the_samples(count):
    samples = drawn()
    found, shares = worlds(samples, count)
    np.testing.assert_array_equal(found, samples)
    np.testing.assert_allclose(shares, np.full(30, 1 / 30))


def test_equal_samples_are_chosen_once_and_share_nothing():
    found, shares = worlds(straight(1.0, 1.0, 1.0, 5.0), 3)
    assert shares.tolist() == [0.75, 0.25, 0.0]
    assert sorted(found[:, 0, -1, 0]) == [1.0, 1.0, 5.0]


def test_samples_fall_on_combinations_of_modes():
    modes = straight((0, 0), (10, 20))
    samples = straight((1, 2), (0, 19), (2, 21), (9, 18), (-1, 1), (1, 18))
    found, shares = snapped(samples, modes, 2)
    np.testing.assert_array_equal(found[:, :, -1, 0], [[0, 20], [0, 0]])
    np.testing.assert_allclose(shares, [3 / 5, 2 / 5])
    found, shares = snapped(samples, modes, 9)
    assert len(found) == 3 and shares.sum() == pytest.approx(1)
    np.testing.assert_array_equal(found[2, 1], modes[1, 1])
