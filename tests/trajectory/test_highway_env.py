"""Scenes of highway-env: one of each of its roads."""

import sys

import numpy as np
import pytest

from domains.trajectory.readers.highway_env import record_highway

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.mark.parametrize("env", ["highway-fast-v0", "merge-v0", "intersection-v0", "roundabout-v0"])
def test_traffic_drives_along_lanes(env):
    pytest.importorskip("highway_env")
    scene = record_highway(env, seed=1, steps=12, dt=0.5, now=5)
    assert scene.agents >= 2 and scene.valid.shape[1] == 12 and scene.road.lanes
    moves = np.diff(scene.positions, axis=1)
    both = scene.valid[:, 1:] & scene.valid[:, :-1]
    speeds = np.linalg.norm(moves, axis=-1) / scene.dt
    assert speeds[both].max() < 45 and speeds[both].mean() > 2
    middle = np.angle(np.exp(1j * (scene.headings[:, 1:] + scene.headings[:, :-1]) / 2))
    off = np.sin(np.arctan2(moves[..., 1], moves[..., 0]) - middle)
    assert np.abs(off[both & (speeds > 2)]).max() < 0.35
    points = scene.positions[scene.valid]
    gaps = [np.linalg.norm(points[:, None] - x.centre, axis=-1).min(1) for x in scene.road.lanes]
    assert np.mean(np.min(gaps, axis=0) < 3.0) > 0.95


def test_lanes_lead_on_and_lie_left_of_right():
    pytest.importorskip("highway_env")
    lanes = {x.id: x for x in record_highway("roundabout-v0", 0, steps=2, now=0).road.lanes}
    joined = [(x, lanes[id]) for x in lanes.values() for id in x.successors if id in lanes]
    assert len(joined) > 10
    for lane, after in joined:
        assert lane.id in after.predecessors
        assert np.linalg.norm(lane.centre[-1] - after.centre[0]) < 1.5
    for lane in lanes.values():
        ahead, aside = lane.centre[1] - lane.centre[0], lane.left[0] - lane.right[0]
        assert ahead[0] * aside[1] - ahead[1] * aside[0] > 0


def test_no_scene_depends_on_one_before():
    pytest.importorskip("highway_env")
    one = record_highway("merge-v0", 2, steps=6, now=3)
    record_highway("intersection-v0", 2, steps=2, now=0)
    same = record_highway("merge-v0", 2, steps=6, now=3)
    np.testing.assert_array_equal(one.positions, same.positions)


def test_mistakes_are_named(monkeypatch):
    with pytest.raises(ValueError, match=r"steps of 0.1 s, got dt=0.25"):
        record_highway("merge-v0", 0, dt=0.25)
    monkeypatch.setitem(sys.modules, "highway_env.vehicle.behavior", None)
    with pytest.raises(ValueError, match=r"pip install 'guided\[highway\]'"):
        record_highway("merge-v0", 0)


@pytest.mark.parametrize("id", ["nothing-v0", "CartPole-v1", "no/such thing"])
def test_unknown_roads_are_named(id):
    pytest.importorskip("highway_env")
    with pytest.raises(ValueError, match="has no environment"):
        record_highway(id, 0)
