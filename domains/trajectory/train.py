"""Training a predictor: latents first, then modes and denoiser in one loop."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from domains.trajectory.dataset import Augmentation, Dataset
from domains.trajectory.latents import Latents
from domains.trajectory.model import ModelConfig, Predictor, save_model
from guided.checkpoint import Weights
from guided.resume import claim
from guided.rng import Rng, initial_weights, stream_seed
from guided.train import TrainConfig, TrainState, train


@dataclass(frozen=True)
class TrajectoryTraining:
    """Everything a training run depends on, but the scenes."""

    model: ModelConfig = field(default_factory=ModelConfig)
    """The architecture."""
    vary: Augmentation = field(default_factory=Augmentation)
    """How scenes are varied."""
    loop: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            steps=4_000, batch=32, lr=1.5e-3, warmup=100, ema=0.998, log_every=100
        )
    )
    """The optimisation."""


def untrained(
    data: Dataset, config: TrajectoryTraining, latents: Latents | None = None
) -> Predictor:
    """Return a predictor with seeded initial weights and latents, given or fitted to the data."""
    with initial_weights(stream_seed(config.loop.seed)):
        predictor = Predictor(config.model)
    if latents is None:
        predictor.latents.fit(data.futures())
    else:
        predictor.latents.load_state_dict(latents.state_dict())
    return predictor


def run_training(
    data: Dataset,
    config: TrajectoryTraining,
    folder: Path,
    latents: Latents | None = None,
    source: Mapping[str, Any] | None = None,
) -> Iterator[TrainState]:
    """Train in ``folder``, resuming what it holds; yields what :func:`guided.train.train` does.

    Args:
        data: to learn from.
        config: how.
        folder: of the run.
        latents: fitted before; None fits them to the data.
        source: where the data come from; a run of other data is not continued.

    Raises:
        CheckpointError: for a folder that belongs to another configuration, or is damaged.
    """
    predictor = untrained(data, config, latents)

    def batch(step: int, generator: torch.Generator) -> tuple[Any, Any]:
        return data.batch(config.loop.batch, generator, config.vary)

    about = {} if source is None else {"source": dict(source)}
    claim(folder / "training.json", {**asdict(config), **about})
    yield from train(predictor, batch, config.loop, folder)


@torch.no_grad()
def held_out_losses(
    weights: Weights, data: Dataset, config: TrajectoryTraining
) -> tuple[float, float]:
    """Return the mean losses of modes and denoiser, always on the same scenes, levels and noise."""
    predictor = Predictor(config.model)
    predictor.load_state_dict(weights)
    parts = []
    for step in range(8):
        generator = torch.Generator().manual_seed(stream_seed(1, step))
        targets, inputs = data.batch(64, generator, Augmentation(agents=config.vary.agents))
        losses = predictor.losses(targets, inputs, Rng(stream_seed(2, step)))
        parts.append([part.mean().item() for part in losses])
    first, second = torch.tensor(parts).mean(0).tolist()
    return first, second


def ship(
    target: Path, data: Dataset, config: TrajectoryTraining, state: TrainState, **about: Any
) -> None:
    """Write the averaged weights of a finished run on some data to ``target``.

    Its snapshot goes with them, if one was taken (``--loop.snapshot-at``).
    """
    facts = {"steps": state.step, "training": asdict(config), **about}
    save_model(target, config.model, state.ema, data.kinds, state.weak, **facts)
