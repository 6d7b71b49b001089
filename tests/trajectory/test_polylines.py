"""Pieces of map: equally long, near, and told apart."""

import numpy as np
import pytest

from domains.trajectory.polylines import MAP_KINDS, STRIDE, arc_lengths, pieces, resample
from domains.trajectory.road import Lane, RoadMap
from tests.trajectory.crowds import line, road, turned

HERE = np.zeros(2)


def test_way_along_a_line_and_points_equally_far_apart():
    bent = line((0, 0), (3, 4), (3, 4), (3, 10))
    np.testing.assert_allclose(arc_lengths(bent), [0, 5, 5, 11])
    found = resample(bent, 12)
    np.testing.assert_allclose(found[5], [3, 4])
    np.testing.assert_allclose(np.linalg.norm(np.diff(found, axis=0), axis=1), 1)
    np.testing.assert_array_equal(found[[0, -1]], bent[[0, -1]])


def test_pieces_share_their_ends_and_cover_the_line():
    wall = line((0, 1), (30, 1))
    found, kinds = pieces(RoadMap(walls=(wall,)), HERE, 100.0, 4, 10)
    assert found.shape == (3, 4, 2)  # 30 m are cut into 3 of 10 m, as 12 m is the most
    assert [MAP_KINDS[kind] for kind in kinds] == ["wall"] * 3
    np.testing.assert_allclose(found.reshape(-1, 2)[:, 0].reshape(3, 4)[:, 0], [0, 10, 20])
    np.testing.assert_allclose(np.diff(found[..., 0]), 10 / 3)
    assert np.diff(found[..., 0]).max() <= STRIDE


def test_points_are_metres_from_the_origin():
    origin = np.array([1e6, 2e6])
    far = RoadMap(stops=(line((1e6, 2e6 + 3), (1e6 + 6, 2e6 + 3)),))
    found, _ = pieces(far, origin, 10.0, 3, 4)
    np.testing.assert_allclose(found, [[[0, 3], [3, 3], [6, 3]]])


def test_the_nearest_pieces_within_reach_are_kept():
    walls = tuple(line((x, 0), (x, 5)) for x in (9.0, 2.0, 30.0, 4.0))
    found, _ = pieces(RoadMap(walls=walls), HERE, 10.0, 3, 10)
    assert found[:, 0, 0].tolist() == [2, 4, 9]
    found, _ = pieces(RoadMap(walls=walls), HERE, 10.0, 3, 2)
    assert found[:, 0, 0].tolist() == [2, 4]
    found, _ = pieces(RoadMap(walls=walls), HERE, 9.0, 3, 10)
    assert len(found) == 3  # reach is meant to the point


def test_kinds_of_everything():
    found, kinds = pieces(road(), HERE, 1000.0, 4, 100)
    counts = np.bincount(kinds, minlength=len(MAP_KINDS))
    length = 25 + np.hypot(20, 8)
    assert counts.tolist() == [
        np.ceil(length / 12),
        2 + np.ceil(26 / 12),
        1,
        np.ceil(np.hypot(17, 1) / 12),
    ]
    assert np.isfinite(found).all()


@pytest.mark.parametrize("side", [0.5, 3.0, 5.0])
def test_no_piece_of_a_crossing_ends_where_it_starts(side):
    """A piece's direction is from its start to its end, and a closed one has none."""
    square = side * line((0, 0), (1, 0), (1, 1), (0, 1))
    found, _ = pieces(RoadMap(crossings=(square,)), HERE, 100.0, 6, 10)
    assert len(found) >= 2
    assert np.linalg.norm(found[:, -1] - found[:, 0], axis=-1).min() > side / 2


@pytest.mark.parametrize("length", [12.0, 36.0, 120.0])
def test_a_turned_map_has_the_same_pieces(length):
    """Lengths that are whole pieces must not gain one by rounding."""
    straight = line((-3, 2), (length - 3, 2))
    count = round(length / 12)
    for angle in np.linspace(0, 6, 50):
        found, _ = pieces(RoadMap(walls=(turned(straight, angle, (7, 1)),)), HERE, 1e3, 4, 50)
        assert len(found) == count


def test_no_map_no_pieces():
    wall = line((0, 1), (3, 1))
    for nothing in (None, RoadMap(), RoadMap(walls=(wall + 100,))):
        found, kinds = pieces(nothing, HERE, 10.0, 6, 48)
        assert found.shape == (0, 6, 2) and kinds.shape == (0,) and kinds.dtype == np.int64
    assert len(pieces(RoadMap(walls=(wall,)), HERE, 10.0, 6, 0)[0]) == 0


def test_the_map_is_not_changed():
    lane = Lane("a", line((0, 0), (9, 0)), line((0, 1), (9, 1)), line((0, -1), (9, -1)))
    before = lane.centre.copy()
    pieces(RoadMap(lanes=(lane,)), np.ones(2), 50.0, 6, 5)
    np.testing.assert_array_equal(lane.centre, before)
