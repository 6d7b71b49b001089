"""Forecasts: what they cost, in which order they come, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from domains.trajectory.batch import case
from domains.trajectory.guiding import Guidance
from domains.trajectory.predict import Sampling, batches, predict, sampled, unguided
from domains.trajectory.prepared import prepare
from guided.denoiser import DenoiserWrapper
from guided.energy import FunctionEnergy
from guided.wrappers import Counted
from tests.trajectory.small_predictor import METHODS, WINDOW, crowd, small, walkers

SQUARES = FunctionEnergy(lambda p, cond=None: p.square().sum((1, 2, 3)))


class NoWayBack(DenoiserWrapper):
    """A network through which no gradient may pass."""

    def forward(self, x, level, cond=None):
        if x.requires_grad:
            raise RuntimeError("a gradient would pass through the network")
        return self.denoiser(x, level, cond)


def wrapped(wrapper, count=2):
    prepared = prepare(small(), crowd()[:count])
    return replace(prepared, denoiser=wrapper(prepared.denoiser))


def told(method):
    """Return a guide that pulls everybody to the origin."""
    return lambda prepared, times: Guidance(method, 0.1).sampler(
        prepared, times, [SQUARES] * len(prepared.scenes)
    )


@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("method", METHODS)
def test_a_run_costs_one_network_call_a_step(method, steps):
    prepared = wrapped(Counted)
    sampled(prepared, Sampling(samples=4, steps=steps), told(method))
    spent = prepared.denoiser
    assert (spent.calls, spent.rows) == (steps, 4 * 2 * steps)
    assert spent.vjps == (steps if method == "score-function" else 0)


@pytest.mark.parametrize("method", METHODS)
def test_no_gradient_passes_through_the_network(method):
    prepared, how = wrapped(NoWayBack), Sampling(samples=2, steps=2)
    if method == "score-function":
        with pytest.raises(RuntimeError, match="a gradient would pass"):
            sampled(prepared, how, told(method))
    else:
        assert np.isfinite(sampled(prepared, how, told(method)).numpy()).all()


@pytest.mark.parametrize(
    "wrong",
    [{"samples": 0}, {"steps": 0}, {"start": 0.0}, {"start": 1.1}, {"seed": -1}],
    ids=str,
)
def test_impossible_samplings_are_refused(wrong):
    with pytest.raises(ValueError, match=r"1 or more samples and steps, a start in .* got"):
        Sampling(**wrong)


def test_a_vanilla_run_starts_in_pure_noise():
    predictor = small("vanilla")
    with pytest.raises(ValueError, match=r"starts in pure noise, at 1, got 0\.4; a late start"):
        list(predict(predictor, crowd()[:1], Sampling(2, 2, start=0.4)))
    ((_, found),) = predict(predictor, crowd()[:1], Sampling(2, 2, start=1.0))
    assert np.isfinite(found.worlds).all()


def test_batches_hold_scenes_of_like_size_once_each():
    scenes = [walkers(n) for n in (5, 1, 3, 2, 8, 1, 4)]
    found = list(batches(scenes, 8))
    assert sorted(i for chunk in found for i in chunk) == list(range(7))
    sizes = [[scenes[i].agents for i in chunk] for chunk in found]
    assert sizes == [[1, 1, 2], [3, 4], [5], [8]]
    assert list(batches(scenes, 1)) == [[1], [5], [3], [2], [6], [0], [4]]
    assert list(batches([], 8)) == []


def test_forecasts_are_of_their_scene_and_in_its_coordinates():
    scenes = crowd()[:7]
    found = dict(predict(small(), scenes, Sampling(3, 2)))
    assert sorted(found) == list(range(7))
    for i, forecast in found.items():
        one = case(scenes[i], WINDOW)
        assert forecast.scene is scenes[i] and forecast.dt == WINDOW.dt
        np.testing.assert_array_equal(forecast.agents, one.agents)
        assert forecast.worlds.shape == (3, len(one.agents), WINDOW.future, 2)
        np.testing.assert_allclose(forecast.probabilities, 1 / 3)
        now = scenes[i].positions[one.agents, scenes[i].now]
        # Nobody is thrown hundreds of metres from where they are.
        assert np.abs(forecast.worlds - now[:, None]).max() < 60


def test_worlds_are_chosen_from_the_samples():
    scene, how = crowd()[3], Sampling(20, 2)
    ((_, every),) = predict(small(), [scene], how)
    ((_, few),) = predict(small(), [scene], how, worlds=4)
    assert few.worlds.shape[0] == 4 and few.probabilities.sum() == pytest.approx(1)
    assert (np.diff(few.probabilities) <= 0).all()
    for world in few.worlds:
        assert (every.worlds == world).all((1, 2, 3)).any()


def test_seeds_make_the_samples():
    def worlds(seed):
        ((_, found),) = predict(small(), crowd()[:1], Sampling(3, 2, seed=seed))
        return found.worlds

    np.testing.assert_array_equal(worlds(1), worlds(1))
    assert np.abs(worlds(1) - worlds(2)).max() > 0.1


def test_the_default_is_unguided():
    prepared, how = prepare(small(), crowd()[:2]), Sampling(2, 2)
    assert sampled(prepared, how).equal(sampled(prepared, how, unguided))


def test_a_scene_of_other_steps_is_refused():
    scene = replace(crowd()[0], dt=0.3)
    with pytest.raises(ValueError, match=r"steps 0\.3 s and the model 0\.5 s"):
        list(predict(small(), [scene]))
