"""The denoisers of pictures: both networks, files and back, labels, and the shipped ones."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from domains.image.classifier import JUDGE, load_classifier
from domains.image.data.digits import digits
from domains.image.model import (
    SHIPPED,
    WEIGHTS,
    ModelConfig,
    build,
    fitted,
    load_model,
    load_weak,
    null_label,
    save_model,
)
from domains.image.train import ImageTraining, settled
from guided import Denoiser, Heun, Rng
from guided.checkpoint import CheckpointError
from guided.rng import initial_weights
from guided.schedule import karras

SMALL = ModelConfig(width=16, depth=1, heads=2, names=("a", "b", "c"))
UNET = replace(SMALL, net="unet", patch=1, widths=(8, 8), shape=(3, 4, 8))


def with_weights(config: ModelConfig, seed: int = 0) -> Denoiser:
    """An untrained denoiser whose every weight matters."""
    with initial_weights(seed):
        denoiser = build(config)
    rng = Rng(seed)
    with torch.no_grad():
        for parameter in denoiser.parameters():
            parameter.add_(0.05 * rng.normal(parameter.shape))
    return denoiser.eval().requires_grad_(False)


def rounded(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: v.half().float() for k, v in weights.items()}


def sampled(denoiser: Denoiser, labels: Tensor, seed: int = 0, steps: int = 24) -> Tensor:
    """Draw digits with Heun's method on the grid of the experiments."""
    times = karras(denoiser.schedule, steps, 0.01, 10.0)
    sampler, rng = Heun(denoiser), Rng(seed)
    start = sampler.initial((len(labels), 1, 8, 8), times, rng)
    return sampler.sample(start, times, labels, rng=rng)


@pytest.mark.parametrize("config", [SMALL, UNET], ids=["transformer", "unet"])
def test_a_model_comes_back_from_its_folder(config: ModelConfig, tmp_path: Path) -> None:
    model, weak = with_weights(config, 0), with_weights(config, 1)
    save_model(tmp_path / "m", config, model.state_dict(), weak.state_dict(), note="x")
    loaded, found = load_model(tmp_path / "m")
    assert found == config and not loaded.training
    x, cond = Rng(0).normal((2, *config.shape)), torch.tensor([0, 3])
    for original, back in ((model, loaded), (weak, load_weak(tmp_path / "m"))):
        original.load_state_dict(rounded(original.state_dict()))
        level = original.schedule.level(0.5)
        assert torch.equal(original(x, level, cond).x0, back(x, level, cond).x0)
    stored = json.loads((tmp_path / "m" / "config.json").read_text())
    assert stored["note"] == "x" and stored["weights"] == ["model", "weak"]


@pytest.mark.parametrize("config", [SMALL, UNET], ids=["transformer", "unet"])
def test_it_is_preconditioned_for_the_spread_of_its_data(config: ModelConfig) -> None:
    config = replace(config, sigma_data=0.5)
    untrained = build(config)
    x = Rng(1).normal((2, *config.shape))
    level = untrained.schedule.level(untrained.schedule.time(1.5))
    # The network starts as 0, so the estimate is that of normal data: x s^2 / (s^2 + sigma^2).
    expected = x * 0.25 / (0.25 + 1.5**2)
    torch.testing.assert_close(untrained(x, level).x0, expected)
    assert untrained.schedule.level(1.0).sigma == pytest.approx(10.0)


def test_what_the_pictures_tell_is_measured() -> None:
    images = digits()
    config = fitted(ModelConfig(width=32), images)
    assert config.shape == (1, 8, 8) and config.names == images.names and config.width == 32
    assert config.sigma_data == pytest.approx(float(images.x.numpy().std()), abs=1e-4)
    with pytest.raises(ValueError, match="pictures of one grey"):
        fitted(config, replace(images, x=torch.ones_like(images.x)))


def test_the_null_label_is_one_past_the_names_and_another_condition() -> None:
    model = with_weights(SMALL)
    null = null_label(torch.tensor([0, 2]), SMALL.names)
    assert null.tolist() == [3, 3]
    x, level = Rng(2).normal((2, 1, 8, 8)), model.schedule.level(0.5)
    given = model(x, level, torch.tensor([0, 2])).x0
    assert torch.equal(model(x, level, null).x0, model(x, level, None).x0)
    assert not torch.allclose(model(x, level, null).x0, given, atol=1e-5)
    unlabelled = build(replace(SMALL, names=()))
    with pytest.raises(ValueError, match="no labels"):
        unlabelled(x, level, torch.tensor([0, 0]))


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown net 'mlp'"):
        build(replace(SMALL, net="mlp"))
    with pytest.raises(ValueError, match="must divide both sides"):
        build(replace(SMALL, patch=3))
    model = build(SMALL)
    save_model(tmp_path / "m", SMALL, model.state_dict())
    with pytest.raises(CheckpointError, match="holds no weights named 'weak', only model"):
        load_weak(tmp_path / "m")
    with pytest.raises(CheckpointError, match="holds no model of pictures"):
        load_model(JUDGE)
    save_model(tmp_path / "other", replace(SMALL, width=32), model.state_dict())
    with pytest.raises(CheckpointError, match="do not fit its config"):
        load_model(tmp_path / "other")
    with pytest.raises(CheckpointError, match="no checkpoint"):
        load_model(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("folder", "good", "bad"), [(SHIPPED, 0.85, 0.75), (WEIGHTS / "digits-unet", 0.85, 0.75)]
)
def test_the_shipped_model_draws_its_labels_and_its_snapshot_is_worse(folder, good, bad) -> None:
    (model, config), weak, judge = load_model(folder), load_weak(folder), load_classifier(JUDGE)
    assert config.names == tuple("0123456789")
    labels = torch.arange(200) % 10
    right = [
        (judge(sampled(denoiser, labels, steps=12)).argmax(1) == labels).double().mean().item()
        for denoiser in (model, weak)
    ]
    assert right[0] > good and right[1] < bad, right


def test_the_shipped_model_has_not_learned_its_pictures_by_heart() -> None:
    images = digits()
    seen, unseen = images.train.x.flatten(1), images.test.x.flatten(1)
    labels = torch.arange(100) % 10
    drawn = sampled(load_model()[0], labels, seed=1, steps=12).flatten(1)
    nearest = torch.cdist(drawn, seen).min(1).values.median()
    natural = torch.cdist(unseen, seen).min(1).values.median()
    assert nearest > 0.9 * natural  # as far from the training digits as other people's digits


def test_the_shipped_model_is_what_the_command_trains_by_default() -> None:
    stored = json.loads((SHIPPED / "config.json").read_text())
    settings = asdict(settled(ImageTraining(), digits()))
    assert stored["training"] == json.loads(json.dumps(settings))
    assert stored["steps"] == 16 * stored["training"]["loop"]["snapshot_at"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sigma_max": 0.0}, "are positive, got 0.0, 0.75 and 1.2"),
        ({"log_sigma": (0.0, -1.0)}, "are positive, got 10.0, 0.75 and -1.0"),
        ({"heads": 0}, "a transformer needs at least 1 head, got 0"),
        ({"heads": -1, "net": "unet"}, "a unet needs at least 0 heads, got -1"),
        ({"depth": 0}, "sizes of at least 1, got patch=2, width=48, depth=0"),
        ({"widths": ()}, "sizes of at least 1"),
    ],
)
def test_numbers_out_of_range_are_refused(wrong, message) -> None:
    with pytest.raises(ValueError, match=message):
        ModelConfig(**wrong)
    assert ModelConfig(net="unet", heads=0).heads == 0


def test_the_shipped_files_are_small() -> None:
    sizes = {p.parent.name: 0 for p in WEIGHTS.glob("*/*")}
    for path in WEIGHTS.glob("*/*"):
        sizes[path.parent.name] += path.stat().st_size
    assert sizes.keys() == {"digits", "digits-small", "digits-unet", "guide", "judge"}
    assert max(sizes.values()) < 3e6
