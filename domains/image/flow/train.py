"""Training the shipped prior of the flow: simulated fields, loop, checkpoint."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from domains.image.flow.fields import FieldConfig, transformed
from domains.image.flow.model import ModelConfig, build, save_model
from guided.checkpoint import Weights
from guided.rng import Rng, initial_weights, stream_seed
from guided.train import TrainConfig, TrainState, train


@dataclass(frozen=True)
class FlowTraining:
    """Everything a training run depends on."""

    model: ModelConfig = field(default_factory=ModelConfig)
    """The architecture."""
    fields: FieldConfig = field(default_factory=FieldConfig)
    """The snapshots."""
    loop: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            steps=7_000,
            batch=32,
            lr=1e-3,
            warmup=200,
            decay="cosine",
            precision="bf16",
            save_every=250,
        )
    )
    """The optimisation."""


def run_training(fields: Tensor, config: FlowTraining, folder: Path) -> Iterator[TrainState]:
    """Train in ``folder``, resuming what it holds; yields what :func:`guided.train.train` does.

    Args:
        fields: vorticities (N, size, size).
        config: how.
        folder: of the run.
    """
    with initial_weights(stream_seed(config.loop.seed)):
        denoiser = build(config.model)

    def batch(step: int, generator: torch.Generator) -> tuple[Tensor, None]:
        drawn = torch.randint(len(fields), (config.loop.batch,), generator=generator)
        return transformed(fields[drawn], generator)[:, None] / config.model.std, None

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "training.json").write_text(json.dumps(asdict(config), indent=2) + "\n")
    yield from train(denoiser, batch, config.loop, folder)


@torch.no_grad()
def held_out_loss(weights: Weights, fields: Tensor, config: FlowTraining) -> float:
    """Return the mean loss over up to 512 test fields, always with the same levels and noise."""
    denoiser = build(config.model)
    denoiser.load_state_dict(weights)
    losses = []
    for step, part in enumerate(fields[:512].split(64)):
        x0 = part[:, None] / config.model.std
        losses.append(denoiser.loss(x0, None, Rng(stream_seed(1, step))).mean().item())
    return sum(losses) / len(losses)


def ship(target: Path, config: FlowTraining, state: TrainState, **about: Any) -> None:
    """Write the averaged weights of a finished run to ``target`` in half precision."""
    save_model(target, config.model, state.ema, steps=state.step, training=asdict(config), **about)
