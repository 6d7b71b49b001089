"""Training the shipped model: data, loop, resumable folder, shipped checkpoint."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from domains.music.batches import ClipBatches
from domains.music.data.corpus import Corpus
from domains.music.model import ModelConfig, build, save_model
from guided.checkpoint import Weights
from guided.rng import Rng, initial_weights, stream_seed
from guided.snapshot import with_snapshot
from guided.train import TrainConfig, TrainState, train


@dataclass(frozen=True)
class MusicTraining:
    """Everything a training run depends on."""

    model: ModelConfig = field(default_factory=ModelConfig)
    """The architecture."""
    loop: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            steps=12_000,
            batch=32,
            optimizer="muon",
            lr=5e-3,
            warmup=200,
            decay="cosine",
            precision="bf16",
            save_every=250,
        )
    )
    """The optimisation; the weak snapshot is taken after a sixteenth of the steps, unless told."""
    chorale_share: float = 0.15
    """Share of the chorales in a batch."""


def run_training(corpus: Corpus, config: MusicTraining, folder: Path) -> Iterator[TrainState]:
    """Train in ``folder``, resuming what it holds; yields what :func:`guided.train.train` does."""
    with initial_weights(stream_seed(config.loop.seed)):
        denoiser = build(config.model)
    shares = (1 - config.chorale_share, config.chorale_share)
    batches = ClipBatches.of(
        corpus, config.model.codec, config.loop.batch, config.model.columns, shares=shares
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "training.json").write_text(json.dumps(asdict(config), indent=2) + "\n")
    yield from train(denoiser, batches, with_snapshot(config.loop), folder)


@torch.no_grad()
def held_out_loss(weights: Weights, corpus: Corpus, config: MusicTraining) -> float:
    """Return the mean loss over 256 test clips, always the same clips, levels and noise."""
    denoiser = build(config.model)
    denoiser.load_state_dict(weights)
    test = ClipBatches.of(corpus, config.model.codec, 64, config.model.columns, split="test")
    losses = []
    for step in range(4):
        generator = torch.Generator().manual_seed(step)
        losses.append(denoiser.loss(*test(step, generator), Rng.wrap(generator)).mean().item())
    return sum(losses) / len(losses)


def ship(target: Path, config: MusicTraining, state: TrainState, **about: Any) -> None:
    """Write the averaged weights of a finished run to ``target`` in half precision."""
    about = {"steps": state.step, "training": asdict(config), **about}
    save_model(target, config.model, state.ema, state.weak, **about)
