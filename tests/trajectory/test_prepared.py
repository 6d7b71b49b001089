"""Prepared scenes: one sample alone is the same in a batch, and the context is computed once."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from domains.trajectory import prepared as module
from domains.trajectory.asking import guide
from domains.trajectory.batch import Inputs, collate
from domains.trajectory.costs.goal import GoalPoint
from domains.trajectory.frames import to_scene
from domains.trajectory.guiding import Guidance
from domains.trajectory.network.attention import RelationAttention
from domains.trajectory.network.encoder import Encoder
from domains.trajectory.predict import Sampling, sampled, unguided
from domains.trajectory.prepared import Prepared, prepare, split
from tests.trajectory.small_predictor import METHODS, MODEL, small, trained, walkers

HOW = Sampling(samples=4, steps=3, start=1.0)
OTHERS = [walkers(1 + i % 9, 50 + i) for i in range(15)]


def eastwards(setting):
    """Everybody is asked to end 6 m east of where they are."""
    goal = setting.positions.numpy() + setting.origin + np.array([6.0, 0.0])
    return GoalPoint(setting, range(len(goal)), goal)


def asked(method):
    return guide(eastwards, Guidance(method, strength=0.4, clip=1.0))


def futures(predictor, scenes, how=HOW, guide=unguided):
    prepared = prepare(predictor, scenes)
    return list(split(prepared, sampled(prepared, how, guide)))


def in_double(monkeypatch):
    """Let everything run in double precision; return the predictor."""
    noise = Prepared.noise

    def doubled(cases):
        return Inputs(*(x.double() if x.is_floating_point() else x for x in collate(cases)))

    monkeypatch.setattr(module, "collate", doubled)
    monkeypatch.setattr(Prepared, "noise", lambda *args: noise(*args).double())
    return small().double()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("precision", ["single", "double"])
def test_a_scene_and_a_sample_do_not_depend_on_their_batch(monkeypatch, method, precision):
    """Alone, among 16 of which most are larger, and with 4 or 64 samples.

    Sums of another batch are rounded otherwise, which is about 2e-6 m in single precision.
    """
    predictor = trained() if precision == "single" else in_double(monkeypatch)
    bound = 2e-5 if precision == "single" else 1e-9
    scene, how = walkers(3), asked(method)
    (alone,) = futures(predictor, [scene], guide=how)
    together = futures(predictor, [*OTHERS[:7], scene, *OTHERS[7:]], guide=how)[7]
    (many,) = futures(predictor, [scene], replace(HOW, samples=64), how)
    assert alone.shape == together.shape == (4, 3, 6, 2)
    np.testing.assert_allclose(alone, together, atol=bound, rtol=0)
    np.testing.assert_allclose(alone, many[:4], atol=bound, rtol=0)
    (plain,) = futures(predictor, [scene])
    moved = np.abs(alone - plain).max()
    assert moved == 0 if method == "none" else moved > 0.1
    assert np.abs(alone[0] - alone[1]).max() > 0.1


def test_noise_depends_on_seed_name_and_number_alone():
    predictor, scene = small(), walkers(2)
    alone = prepare(predictor, [scene]).noise(3, seed=5)
    among = prepare(predictor, [OTHERS[8], scene])
    several = among.noise(7, seed=5).unflatten(0, (2, 7))
    assert torch.equal(alone, several[1, :3, :2]) and not several[1, :, 2:].any()
    assert not torch.equal(alone, prepare(predictor, [scene]).noise(3, seed=6))
    other = prepare(predictor, [replace(scene, name="other")]).noise(3, seed=5)
    assert not torch.equal(alone, other)
    many = among.noise(4_000, seed=0)[:4_000]
    assert abs(float(many.mean())) < 0.03 and float(many.std()) == pytest.approx(1, abs=0.02)


def test_decoding_adds_the_mean_and_turns_into_the_scene():
    prepared = prepare(small(), [walkers(2), walkers(4)])
    u = torch.randn(6, 4, MODEL.latents, generator=torch.Generator().manual_seed(0))
    found, latents = prepared.decode(u), prepared.predictor.latents
    for row in range(6):
        b = row // 3
        x = prepared.mean[b] + prepared.std[b] * u[row]
        here, heading = (p[b, :, -1] for p in (prepared.inputs.positions, prepared.inputs.headings))
        wanted = to_scene(latents.decode(x), here, heading)
        torch.testing.assert_close(found[row], wanted, atol=1e-4, rtol=0)


def test_references_are_the_modes():
    scenes = [walkers(2), walkers(4)]
    prepared = prepare(small(), scenes)
    references = prepared.references()
    assert references.shape == (2, MODEL.modes, 4, MODEL.latents)
    x = prepared.mean[:, None] + prepared.std[:, None] * references
    torch.testing.assert_close(x, prepared.modes.latents.transpose(1, 2), atol=1e-5, rtol=1e-5)


def test_splitting_drops_padding_and_returns_to_the_scene():
    scenes = [walkers(2), walkers(4)]
    prepared = prepare(small(), scenes)
    positions = torch.arange(2 * 3 * 4 * 6 * 2.0).reshape(6, 4, 6, 2)
    parts = list(split(prepared, positions))
    for i, (scene, part) in enumerate(zip(scenes, parts, strict=True)):
        assert part.shape == (3, scene.agents, 6, 2) and part.dtype == np.float64
        origin = scene.positions[:, scene.now].mean(0)
        wanted = positions[3 * i : 3 * i + 3, : scene.agents].double().numpy() + origin
        np.testing.assert_array_equal(part, wanted)


@pytest.mark.parametrize("method", ["none", "ecmr", "score-function"])
def test_the_context_is_computed_once(monkeypatch, method):
    """A run of 10 steps encodes nothing, and relates nobody, after the scenes are prepared."""
    calls = {"encode": 0, "relate": 0}

    def counted(owner, attribute, name):
        plain = getattr(owner, attribute)

        def count(*args):
            calls[name] += 1
            return plain(*args)

        monkeypatch.setattr(owner, attribute, count)

    counted(Encoder, "forward", "encode")
    counted(RelationAttention, "relate", "relate")
    prepared = prepare(small(), OTHERS[:3])
    once = dict(calls)
    assert once["encode"] == 1 and once["relate"] >= 2 * MODEL.layers
    guide = unguided if method == "none" else asked(method)
    sampled(prepared, replace(HOW, steps=10), guide)
    assert calls == once


def test_only_histories_are_read():
    scene = walkers(3)
    after = np.arange(scene.positions.shape[1]) > scene.now
    other = replace(scene, positions=np.where(after[:, None], 7.0, scene.positions))
    for a, b in zip(futures(small(), [scene]), futures(small(), [other]), strict=True):
        np.testing.assert_array_equal(a, b)
