"""The collision rate against dense sampling in time, and by hand."""

from itertools import combinations

import numpy as np
import pytest

from domains.trajectory.metrics import collision, collision_rates, hits


def hits_by_sampling(world, radius, times=400):
    """Return who meets whom, (N,), by looking at many times between the steps."""
    steps = world.shape[1]
    at = np.linspace(0, steps - 1, times * (steps - 1) + 1)
    paths = [[np.interp(at, np.arange(steps), x) for x in person.T] for person in world]
    found = np.zeros(len(world), dtype=bool)
    for i, j in combinations(range(len(world)), 2):
        apart = np.hypot(*(np.subtract(paths[i], paths[j])))
        if apart.min() < 2 * radius:
            found[[i, j]] = True
    return found


def test_equals_dense_sampling():
    rng = np.random.default_rng(11)
    worlds = rng.uniform(0, 20, (6, 9, 7, 2)).round(1)
    expected = np.array([hits_by_sampling(world, 0.2) for world in worlds])
    assert 10 < expected.sum() < 44
    np.testing.assert_array_equal(hits(worlds, 0.2), expected)
    np.testing.assert_allclose(collision_rates(worlds, 0.2), expected.mean(1))


def test_those_who_swap_places_meet_between_the_steps():
    world = np.array([[[0.0, 0], [2, 0]], [[2, 0], [0, 0]], [[0, 5], [2, 5]]])
    assert hits(world[None]).tolist() == [[True, True, False]]
    assert collision_rates(world[None]) == pytest.approx(2 / 3)
    world[1, :, 1] = 0.25  # they pass each other beyond two radii
    assert not hits(world[None]).any()
    assert hits(world[None], 0.13).any()


def test_touching_is_no_collision():
    still = np.array([[[0.0, 0], [0, 0]], [[0.5, 0], [0.5, 0]]])
    assert not hits(still[None], 0.25).any()
    assert hits(still[None], 0.2500001).all()


def test_one_step_and_one_person():
    world = np.array([[[0.0, 0]], [[0.1, 0]], [[1, 0]]])
    assert hits(world[None]).tolist() == [[True, True, False]]
    assert collision_rates(np.zeros((3, 1, 4, 2))).tolist() == [0, 0, 0]


def test_worlds_are_apart_and_orders_do_not_matter():
    rng = np.random.default_rng(2)
    worlds = rng.uniform(0, 3, (5, 8, 4, 2))
    found = hits(worlds)
    assert 0 < found.sum() < found.size
    k, n = rng.permutation(5), rng.permutation(8)
    np.testing.assert_array_equal(hits(worlds[k][:, n]), found[k][:, n])
    np.testing.assert_array_equal(np.concatenate([hits(world[None]) for world in worlds]), found)
    np.testing.assert_array_equal(hits(worlds[:, :, ::-1] + 7.0), found)


def test_blocks_of_worlds_change_nothing(monkeypatch):
    worlds = np.random.default_rng(4).uniform(0, 3, (7, 6, 4, 2))
    found = hits(worlds)
    for pairs in (1, 3 * 15 * 4):
        monkeypatch.setattr(collision, "AT_ONCE", pairs)
        np.testing.assert_array_equal(hits(worlds), found)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="radius is a positive number, got 0"):
        hits(np.zeros((1, 2, 3, 2)), 0)
    with pytest.raises(ValueError, match="worlds need shape"):
        hits(np.zeros((2, 3, 2)))
    with pytest.raises(ValueError, match="world 0 has a coordinate of agent 0 that is no number"):
        collision_rates(np.full((1, 2, 3, 2), np.nan))
