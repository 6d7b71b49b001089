"""The predictor: its losses, its coordinates, and its files."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from domains.trajectory.batch import Targets, case, collate, collate_targets, target
from domains.trajectory.frames import to_local
from domains.trajectory.model import Predictor, load_model, save_model
from domains.trajectory.network.modes import mode_loss
from domains.trajectory.predict import Sampling, predict
from guided.checkpoint import CheckpointError, save
from guided.prior import GaussianPrior
from guided.rng import Rng
from tests.trajectory.small_predictor import MODEL, WINDOW, crowd, data, same, small, walkers

HOW = Sampling(samples=4, steps=2)


class Table:
    """Stands in for an Rng: entry [i, a] of what it draws is the same whatever the shape."""

    def __init__(self, first: int = 0) -> None:
        self.first = first
        self.numbers = Rng(3).normal((64, 16, MODEL.latents))

    def normal(self, shape, dtype=None, device=None):
        return self.numbers[self.first : self.first + shape[0], : shape[1]]

    def uniform(self, shape, dtype=None, device=None):
        return torch.linspace(0.1, 0.9, 64, dtype=dtype)[self.first : self.first + shape[0]]


def batch(*scenes, extra=0):
    """Return scenes as a batch, padded by ``extra`` agents more than it needs."""
    cases = [case(scene, WINDOW) for scene in scenes]
    futures = [target(s, WINDOW, c) for s, c in zip(scenes, cases, strict=True)]
    inputs, targets = collate(cases), collate_targets(futures)

    def wider(part):
        return torch.cat(
            [part, torch.zeros_like(part[:, :1]).expand(-1, extra, *part.shape[2:])], 1
        )

    names = ("positions", "headings", "valid", "kinds", "agents")
    inputs = inputs._replace(**{name: wider(getattr(inputs, name)) for name in names})
    return Targets(*map(wider, targets)), inputs


def worlds(predictor):
    return [forecast.worlds for _, forecast in predict(predictor, crowd()[:3], HOW)]


def test_padding_changes_no_loss():
    predictor, scenes = small(), [walkers(2), walkers(3)]
    plain = predictor.losses(*batch(*scenes), Table())
    padded = predictor.losses(*batch(*scenes, extra=4), Table())
    for a, b in zip(plain, padded, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_the_mean_loss_is_per_agent():
    """A scene of four agents weighs four times as much as one of one."""
    predictor, scenes = small(), [walkers(1), walkers(4)]
    alone = [
        predictor.losses(*batch(scene), Table(MODEL.draws * i)) for i, scene in enumerate(scenes)
    ]
    both = predictor.losses(*batch(*scenes), Table())
    for i in range(2):
        wanted = (alone[0][i].mean() + 4 * alone[1][i].mean()) / 5
        torch.testing.assert_close(both[i].mean(), wanted, rtol=1e-5, atol=1e-6)
    targets, inputs = batch(*scenes)
    now = inputs.positions[:, :, -1], inputs.headings[:, :, -1]
    modes = predictor.marginal(inputs)[1]
    each = mode_loss(modes, predictor.latents, to_local(targets.futures, *now), targets)
    torch.testing.assert_close(both[0].mean(), each.sum() / 5, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(sum(both), predictor.loss(targets, inputs, Table()))


def test_a_future_that_is_not_known_whole_is_no_noisy_token():
    """Its agent's numbers change nothing of the denoiser's loss; the modes' loss still reads it."""
    predictor = small()
    targets, inputs = batch(walkers(3))
    partly = targets.valid.clone()
    partly[0, 1, -2:] = False
    futures = targets.futures.clone()
    futures[0, 1] += 0.5
    one, other = (
        predictor.losses(Targets(f, partly), inputs, Table()) for f in (targets.futures, futures)
    )
    assert torch.equal(one[1], other[1]) and not torch.equal(one[0], other[0])


def test_the_denoiser_does_not_teach_the_modes():
    predictor = small().requires_grad_(True)
    marginal, joint = predictor.losses(*batch(*crowd()[:4]), Rng(0))
    joint.sum().backward(retain_graph=True)
    assert all(p.grad is None for p in predictor.head.parameters())
    assert any(bool(p.grad.any()) for p in predictor.encoder.parameters())
    marginal.sum().backward()
    assert any(bool(p.grad.any()) for p in predictor.head.parameters())


def test_the_coordinates_of_both_priors():
    predictor = small()
    modes = predictor.marginal(data().inputs)[1]
    mean, std = predictor.coordinates(modes)
    y, w, p = (x.transpose(1, 2) for x in (modes.latents, modes.spread, modes.probabilities))
    prior = GaussianPrior.of_modes(y, p, MODEL.floor, w)
    assert torch.equal(mean, prior.mean) and torch.equal(std, prior.std)
    y, w, p = (x.double().numpy() for x in (y, w, p))
    first, second = (np.einsum("bma,bmak->bak", p, part) for part in (y, y**2 + w**2))
    np.testing.assert_allclose(mean, first, atol=1e-6)
    np.testing.assert_allclose(std, np.maximum(np.sqrt(second - first**2), MODEL.floor), atol=1e-5)
    mean, std = small("vanilla").coordinates(modes)
    assert not mean.any() and bool((std == 1).all()) and mean.shape == std.shape == first.shape


def test_a_round_trip_rounds_the_weights_to_half_precision_and_nothing_else(tmp_path):
    predictor = small()
    weights = predictor.state_dict()
    save_model(tmp_path / "m", MODEL, weights, steps=7)
    loaded = load_model(tmp_path / "m")
    rounded = {k: v if k.startswith("latents.") else v.half().float() for k, v in weights.items()}
    assert loaded.config == MODEL and same(loaded.state_dict(), rounded)
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    predictor.load_state_dict(rounded)
    for a, b, whole in zip(worlds(loaded), worlds(predictor), worlds(small()), strict=True):
        np.testing.assert_array_equal(a, b)
        assert 0 < np.abs(a - whole).max() < 0.1  # metres


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("model"), r"no checkpoint of a trajectory predictor \(KeyError\)"),
        (lambda c: c["model"].update(colour=1), r"trajectory predictor \(TypeError\)"),
        (lambda c: c["model"].update(width=32), r"trajectory predictor \(RuntimeError\)"),
        (lambda c: c["model"].pop("window"), r"trajectory predictor \(KeyError\)"),
    ],
)
def test_another_checkpoint_is_refused(tmp_path, change, message):
    config = {"model": asdict(MODEL), "kinds": ["vehicle"]}
    change(config)
    save(tmp_path / "m", config, model=small().state_dict())
    with pytest.raises(CheckpointError, match=message + "; give the folder that"):
        load_model(tmp_path / "m")


def test_a_missing_or_truncated_checkpoint_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="is no checkpoint: cannot read config"):
        load_model(tmp_path / "nowhere")
    save_model(tmp_path / "m", MODEL, small().state_dict())
    path = tmp_path / "m" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is missing, truncated or no"):
        load_model(tmp_path / "m")


def test_building_a_predictor_needs_possible_sizes():
    with pytest.raises(ValueError, match="latents of 6 points have 1 to 12 dims, got 13"):
        Predictor(replace(MODEL, latents=13))
