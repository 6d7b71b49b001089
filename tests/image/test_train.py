"""Training denoisers of pictures: it learns, resumes, drops labels and keeps a snapshot."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from domains.image import train as module
from domains.image.data.images import Images
from domains.image.model import ModelConfig, load_model, load_weak
from domains.image.train import ImageTraining, held_out_loss, run_training, settled, ship
from guided.checkpoint import CheckpointError
from guided.train import TrainConfig

LOOP = TrainConfig(steps=32, batch=16, lr=5e-3, warmup=4, save_every=8, log_every=8)
CONFIG = ImageTraining(model=ModelConfig(width=16, depth=1, heads=2), loop=LOOP)


def stripes(count: int = 60, labelled: bool = True) -> Images:
    """Upright or level stripes, with a little noise; the last ten are held out."""
    labels = torch.arange(count) % 2
    generator = torch.Generator().manual_seed(0)
    pattern = torch.ones(8, 8)
    pattern[::2] = -1
    x = torch.where(labels[:, None, None] == 0, pattern, pattern.T)
    x = (x + 0.1 * torch.randn(x.shape, generator=generator))[:, None]
    held_out = torch.arange(count) >= count - 10
    names = ("level", "upright") if labelled else ()
    return Images(x, labels if labelled else None, names, held_out)


@pytest.mark.parametrize("labelled", [True, False])
def test_the_held_out_loss_falls(tmp_path: Path, labelled: bool) -> None:
    images = stripes(labelled=labelled)
    config = settled(replace(CONFIG, loop=replace(LOOP, steps=96)), images)
    states = list(run_training(images, config, tmp_path))
    first, last = (held_out_loss(state.ema, images, config) for state in (states[0], states[-1]))
    assert last < 0.5 * first


def test_what_is_left_open_is_settled_by_the_pictures() -> None:
    config = settled(CONFIG, stripes())
    assert config.model.names == ("level", "upright") and config.model.shape == (1, 8, 8)
    assert config.loop.snapshot_at == 2  # a sixteenth of 32
    assert settled(replace(CONFIG, loop=replace(LOOP, steps=3)), stripes()).loop.snapshot_at == 1
    said = settled(replace(CONFIG, loop=replace(LOOP, snapshot_at=7)), stripes())
    assert said.loop.snapshot_at == 7


def test_a_killed_run_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    images, config = stripes(), settled(CONFIG, stripes())
    *_, whole = run_training(images, config, tmp_path / "whole")
    run = run_training(images, config, tmp_path / "killed")
    next(run), next(run)
    run.close()
    *_, last = run_training(images, config, tmp_path / "killed")
    assert whole.step == last.step == 32
    for name, value in whole.ema.items():
        assert torch.equal(value, last.ema[name])
        assert torch.equal(whole.weak[name], last.weak[name])


def test_both_models_are_shipped_and_the_weak_one_is_the_snapshot(tmp_path: Path) -> None:
    images, config = stripes(), settled(CONFIG, stripes())
    *_, state = run_training(images, config, tmp_path / "run")
    ship(tmp_path / "model", config, state, held_out_loss=1.0)
    model, found = load_model(tmp_path / "model")
    weak = load_weak(tmp_path / "model")
    assert found == config.model
    # The snapshot is what a run of as many steps with the same rates averages to.
    short = replace(config.loop, steps=32, snapshot_at=32)
    states = run_training(images, replace(config, loop=replace(short, log_every=2)), tmp_path / "s")
    early = next(states).ema
    for name, value in weak.state_dict().items():
        torch.testing.assert_close(value, early[name].half().float())
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, state.ema[name].half().float())


@pytest.mark.parametrize("dropped", [0.0, 0.4, 1.0])
def test_the_share_of_labels_asked_for_is_dropped(tmp_path, monkeypatch, dropped) -> None:
    seen = []

    def spy(denoiser, batch, loop, folder):
        for step in range(100):
            seen.append(batch(step, torch.Generator().manual_seed(step)))
        return iter(())

    monkeypatch.setattr(module, "train", spy)
    images = stripes()
    list(run_training(images, settled(replace(CONFIG, dropped=dropped), images), tmp_path))
    x, labels = (torch.cat(parts) for parts in zip(*seen, strict=True))
    share = (labels == 2).double().mean().item()
    assert share == pytest.approx(dropped, abs=0.05)
    # Every picture is one of the training pictures, with its own label where it has one.
    data = images.train
    gap = torch.cdist(x.flatten(1), data.x.flatten(1))
    assert gap.min(1).values.max() < 1e-2
    kept = labels != 2
    assert torch.equal(data.labels[gap.argmin(1)][kept], labels[kept])


def test_mistakes_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"dropped labels is in \[0, 1\], got 2"):
        ImageTraining(dropped=2)
    images, config = stripes(), settled(CONFIG, stripes())
    *_, state = run_training(images, config, tmp_path)
    with pytest.raises(CheckpointError, match="another configuration"):
        next(run_training(images, replace(config, dropped=0.5), tmp_path))
    none = replace(images, held_out=torch.zeros(60, dtype=torch.bool))
    with pytest.raises(ValueError, match="none of 60 pictures is held out"):
        held_out_loss(state.ema, none, config)
