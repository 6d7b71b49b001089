"""Decoding and goals as matrices: the same numbers as step by step, and as autograd."""

import pytest
import torch

from domains.trajectory.asking import asking, setting_of
from domains.trajectory.costs.language import parse
from domains.trajectory.costs.quadratic import misfit_of
from domains.trajectory.frames import to_scene
from domains.trajectory.guiding import Futures, Guidance, energy_of
from domains.trajectory.model import ModelConfig, Predictor
from domains.trajectory.predict import Sampling, sampled
from domains.trajectory.prepared import prepare
from domains.trajectory.sources import generated
from guided.energy import gradient
from guided.rng import Rng, initial_weights

CONFIG = ModelConfig(width=16, heads=2, layers=1, latents=5, modes=3)
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
GOALS = {
    "one": "all: goal 9 ahead at 4.3 s",
    "some": "agent {first}: goal 5 ahead, 2 left * 3\nall: goal 9 ahead at 2 s * 0.5",
    "off": "all: goal 9 ahead at 2 s * 0",
}


@pytest.fixture(scope="module")
def prepared():
    """Two scenes with unequal numbers of agents, and latents that are no unit vectors."""
    scenes = list(generated("crossing", 2, 0, CONFIG.window))
    with initial_weights(0):
        predictor = Predictor(CONFIG).eval().requires_grad_(False)
    predictor.latents.fit(Rng(1).normal((40, CONFIG.window.future, 2)).cumsum(1) + 0.5)
    found = prepare(predictor, scenes)
    assert len(set(map(len, (one.agents for one in found.cases)))) == 2
    return found


def energies(prepared, text):
    found = []
    for scene, one in zip(prepared.scenes, prepared.cases, strict=True):
        setting = setting_of(prepared, scene, one)
        found.append(asking(parse(text.format(first=setting.ids[0])))(setting))
    return found


def test_the_decoder_is_whitening_latents_and_frames_one_after_the_other(prepared):
    u = prepared.noise(3, 7)
    here, heading = prepared.inputs.positions[:, :, -1], prepared.inputs.headings[:, :, -1]
    for row, scene in ((0, 0), (2, 0), (4, 1)):
        x = prepared.mean[scene] + prepared.std[scene] * u[row]
        local = prepared.predictor.latents.decode(x)
        expected = to_scene(local, here[scene], heading[scene])
        torch.testing.assert_close(prepared.decode(u)[row], expected, **CLOSE)


@pytest.mark.parametrize("text", GOALS.values(), ids=GOALS)
def test_squares_have_the_energy_and_the_gradient_of_futures(prepared, text):
    asked, u = energies(prepared, text), prepared.noise(4, 3)
    fast, plain = energy_of(prepared, asked), Futures(prepared, asked)
    assert type(fast) is not Futures
    torch.testing.assert_close(fast(u), plain(u), rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(fast.slope(u), gradient(plain, u)[1], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(fast.slope(u), gradient(fast, u)[1], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    "text", ["all: speed <= 1", "all: goal 9 ahead; apart 2", "all: within 2 m of (0, 0)"]
)
def test_what_is_no_square_is_left_as_it_is(prepared, text):
    asked = energies(prepared, text)
    assert misfit_of(asked[0]) is None
    assert type(energy_of(prepared, asked)) is Futures


def test_scenes_that_are_not_all_squares_are_left_as_they_are(prepared):
    asked = [energies(prepared, "all: goal 9 ahead")[0], energies(prepared, "all: apart 2")[1]]
    assert type(energy_of(prepared, asked)) is Futures


def test_another_number_of_energies_is_refused(prepared):
    with pytest.raises(ValueError, match="2 scenes need as many energies, got 1"):
        energy_of(prepared, energies(prepared, "all: apart 2")[:1])


def test_guidance_reaches_its_goals(prepared):
    """With a strength of 1/2 a last step takes an agent nearly there."""
    asked, how = energies(prepared, "all: goal 9 ahead"), Sampling(4, 5, 1.0)
    gaps = {}
    for method in ("none", "ecm"):
        guidance = Guidance(method, 0.5, clip=float("inf"))
        positions = sampled(prepared, how, lambda p, t, g=guidance: g.sampler(p, t, asked))
        energy = Futures(prepared, asked).energies[0]
        gaps[method] = float(energy(positions[:4, : len(prepared.cases[0].agents)]).mean()) ** 0.5
    assert gaps["ecm"] < 0.5 * gaps["none"]
