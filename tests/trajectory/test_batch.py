"""Scenes as tensors: what is in them, and that nothing of the future is."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from domains.trajectory.batch import (
    KINDS,
    Window,
    case,
    collate,
    collate_targets,
    padded,
    strided,
    target,
)
from domains.trajectory.prepared import prepare
from domains.trajectory.scene import directions
from tests.trajectory.crowds import NOW, WINDOW, crowd, predictor, road


def futures_of(scene):
    """The scene with futures that differ, are partly gone, wholly gone, cut off, or invalid NaN."""
    random = np.random.default_rng(7)
    later = np.arange(scene.valid.shape[1]) > scene.now
    other = scene.positions.copy()
    other[:, later] = random.normal(0, 30, other[:, later].shape)
    turned = directions(other, scene.valid, scene.now)
    yield replace(scene, positions=other, headings=turned)
    some = scene.valid & ~(later & (random.random(scene.valid.shape) < 0.6))
    yield replace(scene, valid=some)
    gone = scene.valid & ~later
    blank = np.where(later[:, None], np.nan, scene.positions)
    yield replace(scene, valid=gone, positions=blank, headings=directions(blank, gone, scene.now))
    yield scene.history()
    yield replace(scene, scored=np.zeros(scene.agents, bool))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("paved", [True, False])
def test_no_input_depends_on_the_future(seed, paved):
    scene = crowd(seed, agents=7, road=road() if paved else None)
    one = case(scene, WINDOW)
    inputs = collate([one])
    others = list(futures_of(scene))
    assert len(others) == 5
    for other in others:
        found = case(other, WINDOW)
        for part, same in zip(one.inputs, found.inputs, strict=True):
            np.testing.assert_array_equal(part, same)
        np.testing.assert_array_equal(one.origin, found.origin)
        np.testing.assert_array_equal(one.agents, found.agents)
        for part, same in zip(inputs, collate([found]), strict=True):
            assert torch.equal(part, same)


def test_no_forecast_depends_on_the_future():
    net, scene = predictor(), crowd(1, road=road())
    expected = prepare(net, [scene])
    u = expected.noise(3, 0)
    for other in futures_of(scene):
        found = prepare(net, [other])
        assert torch.equal(found.noise(3, 0), u)
        assert torch.equal(found.decode(u), expected.decode(u))
        for part, same in zip(found.modes, expected.modes, strict=True):
            assert torch.equal(part, same)


def test_inputs_by_hand():
    scene = crowd(road=road())
    one = case(scene, WINDOW)
    positions, headings, valid, kinds, agents, dt, points, map_kinds, there = one.inputs
    origin = scene.positions[:, NOW].mean(0)
    np.testing.assert_array_equal(one.origin, origin)
    assert one.agents.tolist() == [0, 1, 2, 3, 4] and agents.all() and there.all()
    assert dt == 0.5 and dt.shape == ()
    past = scene.valid[:, : NOW + 1]
    np.testing.assert_array_equal(valid, past)
    np.testing.assert_allclose(positions[past], scene.positions[:, : NOW + 1][past] - origin)
    assert (positions[~past] == 0).all() and (headings[~past] == 0).all()
    np.testing.assert_array_equal(headings[past], scene.headings[:, : NOW + 1][past])
    assert [KINDS[k] for k in kinds] == list(scene.kinds)
    assert points.shape[1:] == (WINDOW.points, 2) and len(points) == len(map_kinds) == len(there)


def test_only_who_is_seen_now_is_an_input():
    scene = crowd()
    valid = scene.valid.copy()
    valid[1, NOW] = False
    one = case(replace(scene, valid=valid), WINDOW)
    assert one.agents.tolist() == [0, 2, 3, 4]
    np.testing.assert_allclose(one.origin, scene.positions[[0, 2, 3, 4], NOW].mean(0))
    with pytest.raises(ValueError, match=r"crowd-0: nobody is seen at step 4 of its"):
        case(replace(scene, valid=np.zeros_like(valid)), WINDOW)


def test_a_short_history_is_padded_in_front():
    scene = crowd()
    short = replace(
        scene.of([0]),
        positions=scene.positions[:1, 3:],
        headings=scene.headings[:1, 3:],
        valid=scene.valid[:1, 3:],
        now=NOW - 3,
    )
    positions, headings, valid, *_ = case(short, WINDOW).inputs
    assert valid[0].tolist() == [False, False, False, True, True]
    assert (positions[0, :3] == 0).all() and (headings[0, :3] == 0).all()
    np.testing.assert_allclose(positions[0, 4], 0)


def test_finer_scenes_are_strided_back_from_now():
    scene = crowd(steps=40, now=19, dt=0.1)
    one = case(scene, Window(history=4, future=3, dt=0.5, pieces=0))
    at = [4, 9, 14, 19]
    np.testing.assert_array_equal(one.inputs[2], scene.valid[:, at])
    own = scene.positions[0, at] - one.origin
    np.testing.assert_allclose(one.inputs[0][0], own)
    futures, valid = target(scene, Window(history=4, future=5, dt=0.5), one)
    np.testing.assert_allclose(futures[0, :4], scene.positions[0, [24, 29, 34, 39]] - one.origin)
    assert valid[0].tolist() == [True] * 4 + [False]
    assert (futures[0, 4] == 0).all()


@pytest.mark.parametrize("dt", [0.4, 0.3, 1.0])
def test_steps_that_are_no_multiple_are_named(dt):
    scene = replace(crowd(), dt=dt)
    with pytest.raises(
        ValueError, match=f"crowd-0 steps {dt:g} s and the model 0.5 s, which is no"
    ):
        strided(scene, WINDOW)
    assert strided(replace(crowd(), dt=0.25), WINDOW) == 2


def test_targets_are_what_happened_about_the_same_origin():
    scene = crowd()
    one = case(scene, WINDOW)
    futures, valid = target(scene, WINDOW, one)
    np.testing.assert_array_equal(valid, scene.valid[:, NOW + 1 :])
    assert not valid[4].all() and valid[4, 0]
    np.testing.assert_allclose(futures[valid], scene.positions[:, NOW + 1 :][valid] - one.origin)
    assert (futures[~valid] == 0).all()


def test_batches_are_padded_with_nobody():
    small, large = case(crowd(0, agents=2), WINDOW), case(crowd(1, agents=6, road=road()), WINDOW)
    inputs = collate([small, large])
    assert inputs.positions.shape == (2, 6, WINDOW.history, 2)
    assert inputs.positions.dtype == inputs.dt.dtype == torch.float32
    assert inputs.kinds.dtype == torch.int64 and inputs.agents.dtype == torch.bool
    assert inputs.agents.sum(1).tolist() == [2, 6]
    assert inputs.pieces.sum(1).tolist() == [0, len(large.inputs[6])]
    assert not inputs.valid[0, 2:].any()
    np.testing.assert_allclose(inputs.positions[1], large.inputs[0], atol=1e-6)
    np.testing.assert_allclose(inputs.headings[0, :2], small.inputs[1], atol=1e-6)
    targets = collate_targets([(np.ones((n, 4, 2)), np.ones((n, 4), bool)) for n in (1, 3)])
    assert targets.futures[0, 1:].abs().sum() == 0 and not targets.valid[0, 1:].any()
    assert targets.valid[1].all()


def test_single_precision_suffices_wherever_on_earth_a_scene_lies():
    scene = crowd()
    far = replace(scene, positions=np.where(scene.valid[..., None], scene.positions + 5e6, 0))
    near, found = collate([case(scene, WINDOW)]), collate([case(far, WINDOW)])
    np.testing.assert_allclose(found.positions, near.positions, atol=1e-6)


def test_padding_keeps_kinds_of_numbers():
    whole = padded([np.array([1, 2]), np.array([3])])
    assert whole.dtype == torch.int64 and whole.tolist() == [[1, 2], [3, 0]]
    assert padded([np.array([True]), np.array([True, True])]).dtype == torch.bool
    assert padded([np.array(0.5), np.array(0.25)]).tolist() == [0.5, 0.25]


def test_scenes_are_not_changed():
    scene = crowd(road=road())
    before = scene.positions.copy()
    target(scene, WINDOW, case(scene, WINDOW))
    np.testing.assert_array_equal(scene.positions, before)
