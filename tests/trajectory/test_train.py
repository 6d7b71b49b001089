"""Training: it learns, resumes to the same bits, and keeps what it was given."""

import json
from dataclasses import asdict, replace

import pytest
import torch

from domains.trajectory.latents import Latents
from domains.trajectory.model import load_model
from domains.trajectory.train import held_out_losses, run_training, ship
from guided.checkpoint import CheckpointError
from tests.trajectory.small_predictor import MODEL, data, same, small, trained, training


def test_training_lowers_both_losses():
    """60 steps; measured on the same scenes, levels and noise."""
    config = training()
    before = held_out_losses(small().state_dict(), data(), config)
    after = held_out_losses(trained().state_dict(), data(), config)
    assert after[0] < 0.8 * before[0] and after[1] < 0.8 * before[1]


@pytest.mark.parametrize("prior", ["ogd", "vanilla"])
def test_a_broken_run_ends_with_the_same_weights(tmp_path, prior):
    """Stopped after step 10, whose last save is of step 7."""
    config = training(prior, steps=12, log_every=5)
    *_, wanted = run_training(data(), config, tmp_path / "whole")
    for state in run_training(data(), config, tmp_path / "broken"):
        if state.step == 10:
            break
    *_, got = run_training(data(), config, tmp_path / "broken")
    assert same(wanted.ema, got.ema) and got.step == 12
    for name, state in (("a", wanted), ("b", got)):
        ship(tmp_path / name, data(), config, state)
    a, b = ((tmp_path / n / "model.safetensors").read_bytes() for n in ("a", "b"))
    assert a == b


def test_a_shipped_model_tells_how_it_was_made(tmp_path):
    config = training(steps=3)
    *_, state = run_training(data(), config, tmp_path / "run")
    ship(tmp_path / "m", data(), config, state, scenes="crowd")
    stored = json.loads((tmp_path / "m" / "config.json").read_text())
    assert (stored["steps"], stored["scenes"]) == (3, "crowd")
    assert stored["training"]["loop"]["lr"] == config.loop.lr
    assert json.loads((tmp_path / "run" / "training.json").read_text()) == stored["training"]
    assert load_model(tmp_path / "m").config == MODEL


def test_latents_are_fitted_to_the_data_or_kept_as_given(tmp_path):
    *_, state = run_training(data(), training(steps=2), tmp_path / "a")
    fitted = Latents(MODEL.window.future, MODEL.latents).fit(data().futures())
    given = Latents(MODEL.window.future, MODEL.latents).fit(2 * data().futures())
    *_, other = run_training(data(), training(steps=2), tmp_path / "b", given)
    for latents, ema in ((fitted, state.ema), (given, other.ema)):
        for name, part in latents.state_dict().items():
            assert torch.equal(ema[f"latents.{name}"], part)


def test_the_folder_of_another_run_is_refused(tmp_path):
    config = training(steps=2)
    list(run_training(data(), config, tmp_path))
    other = replace(config, model=replace(MODEL, prior="vanilla"))
    with pytest.raises(CheckpointError, match=r"model\.prior 'ogd', not 'vanilla'\); use another"):
        next(run_training(data(), other, tmp_path))
    kept = json.loads((tmp_path / "training.json").read_text())
    assert kept["model"] == asdict(MODEL)
