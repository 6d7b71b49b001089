"""The joint denoiser: who sees whom, and samples that turn and move with their scene."""

import numpy as np
import pytest
import torch

from domains.trajectory import prepared as module
from domains.trajectory.prepared import prepare, split
from guided.rng import Rng
from guided.samplers import DDIM
from guided.schedule import uniform
from tests.trajectory.crowds import CONFIG, crowd, exact, moved, predictor, road

S, K = 3, CONFIG.latents


@pytest.fixture
def ready(monkeypatch):
    """Return what prepares scenes in double precision."""
    monkeypatch.setattr(module, "collate", exact)
    net = predictor(dtype=torch.float64, layers=2)
    return lambda *scenes: prepare(net, scenes)


def output(ready, x, time=0.5):
    net, rows = ready.predictor.joint.net, torch.full((len(x),), time).double()
    return net(x, rows, ready.denoiser.context)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def futures(ready, u):
    """Return the marginal modes and the joint samples of each scene, in its coordinates."""
    sampler, times = DDIM(ready.denoiser), uniform(4, start=0.6)
    joint = split(ready, ready.decode(sampler.sample(u, times, rng=Rng(0))))
    modes = split(ready, ready.decode(ready.references().flatten(0, 1)))
    return list(zip(modes, joint, strict=True))


@pytest.mark.parametrize("paved", [True, False])
@pytest.mark.parametrize("angle", [0.4, 1.7, 4.1])
def test_forecasts_turn_and_move_with_the_scene(ready, paved, angle):
    scene, shift = crowd(3, road=road() if paved else None), np.array([2000.0, -700.0])
    one, other = ready(scene), ready(moved(scene, angle, shift))
    u = one.noise(S, 0).double()
    assert torch.equal(other.noise(S, 0).double(), u)
    turn = np.exp(1j * angle)
    for found, expected in zip(futures(other, u)[0], futures(one, u)[0], strict=True):
        assert np.abs(expected - scene.positions[:, scene.now][:, None]).max() > 1
        as_complex = (expected[..., 0] + 1j * expected[..., 1]) * turn
        np.testing.assert_allclose(found[..., 0], as_complex.real + shift[0], atol=2e-6, rtol=0)
        np.testing.assert_allclose(found[..., 1], as_complex.imag + shift[1], atol=2e-6, rtol=0)


def test_another_order_of_agents_is_another_order_of_forecasts(ready):
    scene, order = crowd(3, road=road()), [3, 0, 4, 2, 1]
    one, other = ready(scene), ready(scene.of(order))
    u = draw(S, 5, K)
    pairs = zip(futures(one, u)[0], futures(other, u[:, order])[0], strict=True)
    for expected, found in pairs:
        np.testing.assert_allclose(found, expected[:, order], atol=1e-9)


def test_larger_scenes_in_the_batch_change_nothing(ready):
    scenes = crowd(0, agents=2), crowd(1, agents=6, road=road())
    whole = ready(*scenes)
    u = draw(2 * S, 6, K)
    found = futures(whole, u)
    for row, scene in enumerate(scenes):
        own = u.unflatten(0, (2, S))[row, :, : scene.agents]
        alone = futures(ready(scene), own)[0]
        for expected, part in zip(alone, found[row], strict=True):
            assert part.shape[1] == scene.agents
            np.testing.assert_allclose(part, expected, atol=1e-9)


def test_samples_never_see_each_other(ready):
    one, x = ready(crowd(0), crowd(1)), draw(2 * S, 5, K)
    found, other = output(one, x), x.clone()
    other[4] += 1
    again = output(one, other)
    same = [0, 1, 2, 3, 5]
    assert torch.equal(again[same], found[same])
    assert (again[4] - found[4]).abs().max() > 1e-3


def test_agents_of_a_sample_see_each_other_and_nobody_else_s(ready):
    one, x = ready(crowd(0), crowd(1)), draw(2, 5, K)
    found, other = output(one, x), x.clone()
    other[0, 2] += 1
    again = output(one, other)
    assert torch.equal(again[1], found[1])
    assert ((again[0] - found[0]).abs().amax(-1) > 1e-5).all()


def test_who_is_far_is_not_seen(ready):
    scene = crowd(0, agents=3)
    scene.positions[2] += 500
    one, x = ready(scene), draw(1, 3, K)
    found, other = output(one, x), x.clone()
    other[0, 2] += 1
    assert torch.equal(output(one, other)[0, :2], found[0, :2])


def test_one_context_serves_any_number_of_samples(ready):
    one, x = ready(crowd(0), crowd(1)), draw(2 * S, 5, K)
    whole = output(one, x).unflatten(0, (2, S))
    each = torch.stack([output(one, x.unflatten(0, (2, S))[:, s]) for s in range(S)], 1)
    torch.testing.assert_close(whole, each)


def test_times_are_of_each_sample(ready):
    one, x = ready(crowd(0), crowd(1)), draw(2 * S, 5, K)
    times = torch.linspace(0.1, 0.9, 2 * S).double()
    whole = one.predictor.joint.net(x, times, one.denoiser.context).unflatten(0, (2, S))
    for s, time in enumerate(times[:S]):
        torch.testing.assert_close(output(one, x, float(time))[s], whole[0, s])
    assert (output(one, x, 0.2) - output(one, x, 0.7)).abs().max() > 1e-3


@pytest.mark.parametrize("shape", [(3, 5), (2, 4), (1, 5)])
def test_rows_that_do_not_fit_are_named(ready, shape):
    one = ready(crowd(0), crowd(1))
    said = rf"a context of 2 scenes with 5 agents needs x of \(2 S, 5, 3\), got \({shape[0]}, "
    with pytest.raises(ValueError, match=said):
        output(one, draw(*shape, K))


def test_times_are_told_by_waves_from_a_quarter_turn_to_a_hundred_times_that() -> None:
    net = predictor(dtype=torch.float64).joint.net
    half = net.width // 2
    wanted = 100 ** (np.arange(half) / (half - 1)) * np.pi / 2
    np.testing.assert_allclose(net.frequencies, wanted, rtol=1e-5)
    assert not any("frequencies" in name for name in net.state_dict())  # weights do not hold them
