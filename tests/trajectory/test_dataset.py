"""Random batches of scenes: who is kept, and how scenes are varied."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from domains.trajectory.dataset import Augmentation, Dataset, nearest
from domains.trajectory.frames import to_local
from tests.trajectory.crowds import NOW, WINDOW, crowd, road

SCENES = [crowd(seed, agents=3 + seed, road=road()) for seed in range(4)]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_scenes_without_a_future_are_refused():
    with pytest.raises(ValueError, match="at least one scene, got none"):
        Dataset([], WINDOW)
    past = [scene.history() for scene in SCENES]
    with pytest.raises(ValueError, match=r"none of 4 scenes has .* whole future of 4 steps of 0.5"):
        Dataset(past, WINDOW)


def test_whole_futures_in_own_frames():
    data = Dataset(SCENES, WINDOW)
    found = data.futures()
    expected = []
    for scene in SCENES:
        for a in np.flatnonzero(scene.valid[:, NOW:].all(1)):
            offset = scene.positions[a, NOW + 1 :] - scene.positions[a, NOW]
            h = scene.headings[a, NOW]
            back = np.array([[np.cos(h), -np.sin(h)], [np.sin(h), np.cos(h)]])
            expected.append(offset @ back)
    assert len(data) == 4 and found.shape == (len(expected), WINDOW.future, 2)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_plain_batch_holds_scenes_as_they_are():
    data = Dataset(SCENES, WINDOW)
    targets, inputs = data.batch(16, generator(), Augmentation(agents=100))
    assert len(inputs.dt) == 16
    for i in range(16):
        people = inputs.agents[i]
        row = int(people.sum()) - 3
        whole, after = data.inputs, data.targets
        key = inputs.positions[i, people, -1]
        same = (key[:, None] - whole.positions[row, : row + 3, -1]).norm(dim=-1).argmin(1)
        assert sorted(same.tolist()) == list(range(row + 3))
        for name in ("positions", "headings", "valid", "kinds"):
            expected = getattr(whole, name)[row][same]
            assert torch.equal(getattr(inputs, name)[i, people], expected)
        assert torch.equal(targets.futures[i, people], after.futures[row][same])
        assert torch.equal(targets.valid[i, people], after.valid[row][same])
        assert torch.equal(inputs.map_points[i], whole.map_points[row])


def test_the_nearest_of_somebody_with_a_known_future_are_kept():
    data = Dataset(SCENES, WINDOW)
    anchors = set()
    for seed in range(30):
        inputs, targets = nearest(data.inputs, data.targets, 2, generator(seed))
        assert inputs.positions.shape[1] == 2
        for i, scene in enumerate(SCENES):
            here = data.inputs.positions[i, : scene.agents, -1]
            first, second = inputs.positions[i, :, -1]
            a = int((here - first).norm(dim=-1).argmin())
            assert data.targets.valid[i, a].all() and targets.valid[i, 0].all()
            gaps = (here - here[a]).norm(dim=-1)
            assert (second - first).norm() == gaps.sort().values[1]
            anchors.add((i, a))
    known = {(i, a) for i, a in data.targets.valid.all(-1).nonzero().tolist()}
    assert anchors == known


def test_padding_is_kept_last_and_never_an_anchor():
    data = Dataset([SCENES[0], SCENES[3]], WINDOW)
    inputs, _ = nearest(data.inputs, data.targets, 5, generator())
    assert inputs.agents[0].tolist() == [True] * 3 + [False] * 2
    assert inputs.agents[1].all()


def test_a_scene_in_which_no_future_is_known_has_an_agent_as_anchor():
    blind = crowd(9, agents=2).history()
    data = Dataset([blind, SCENES[3]], WINDOW)
    for seed in range(10):
        inputs, _ = nearest(data.inputs, data.targets, 1, generator(seed))
        assert inputs.agents.all()


def test_scale_and_mirror_vary_everything_alike():
    data = Dataset(SCENES, WINDOW)
    how = Augmentation(scale=(0.5, 2.0), mirror=True, agents=100)
    plain = data.batch(200, generator(), replace(how, scale=(1, 1), mirror=False))
    targets, inputs = data.batch(200, generator(), how)
    (was, before), ratios = plain, []
    for i in range(200):
        factor = inputs.map_points[i, 0, 0] / before.map_points[i, 0, 0]
        scale, side = factor[0], factor[1].sign()
        assert factor[1].abs() == pytest.approx(scale.item(), rel=1e-5)
        both = torch.stack([scale, scale * side])
        for found, expected in (
            (inputs.positions[i], before.positions[i]),
            (inputs.map_points[i], before.map_points[i]),
            (targets.futures[i], was.futures[i]),
        ):
            torch.testing.assert_close(found, expected * both, rtol=1e-5, atol=1e-5)
        assert torch.equal(inputs.headings[i], before.headings[i] * side)
        ratios.append((scale.item(), side.item()))
    scales, sides = np.array(ratios).T
    assert 0.5 <= scales.min() < 0.6 and 1.8 < scales.max() <= 2.0
    assert abs(np.log(scales).mean()) < 0.1 and 0.4 < (sides > 0).mean() < 0.6


def test_a_mirrored_scene_has_the_futures_of_the_mirror():
    """Own frames of a mirrored scene are mirrored about the agent's own heading."""
    data = Dataset(SCENES, WINDOW)
    how = Augmentation(mirror=True, agents=100)
    was, before = data.batch(50, generator(), replace(how, mirror=False))
    targets, inputs = data.batch(50, generator(), how)
    first = to_local(was.futures, before.positions[:, :, -1], before.headings[:, :, -1])
    found = to_local(targets.futures, inputs.positions[:, :, -1], inputs.headings[:, :, -1])
    sides = (found * first).sum((1, 2))[:, 1].sign()
    expected = torch.stack([torch.ones(50), sides], -1)[:, None, None] * first
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert (sides < 0).any() and (sides > 0).any()


def test_the_same_seed_is_the_same_batch_and_the_data_stay():
    data = Dataset(SCENES, WINDOW)
    before = [part.clone() for part in (*data.inputs, *data.targets)]
    how = Augmentation(scale=(0.5, 2.0), mirror=True, agents=3)
    one, two = (data.batch(7, generator(5), how) for _ in range(2))
    other = data.batch(7, generator(6), how)
    pairs = list(zip((*one[0], *one[1]), (*two[0], *two[1]), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(one[1].positions, other[1].positions)
    for part, same in zip((*data.inputs, *data.targets), before, strict=True):
        assert torch.equal(part, same)
