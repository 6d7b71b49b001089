"""Training a denoiser of pictures: batches, loop, resumable folder, shipped checkpoint."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from domains.image.data.images import Images, require_held_out
from domains.image.model import ModelConfig, build, fitted, save_model
from guided.checkpoint import Weights
from guided.resume import claim
from guided.rng import Rng, initial_weights, stream_seed
from guided.snapshot import with_snapshot
from guided.train import TrainConfig, TrainState, train


@dataclass(frozen=True)
class ImageTraining:
    """Everything a training run depends on but the pictures."""

    model: ModelConfig = field(default_factory=ModelConfig)
    """The architecture."""
    loop: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            steps=8_000,
            batch=64,
            optimizer="muon",
            lr=5e-3,
            warmup=100,
            decay="cosine",
            ema=0.998,
            precision="bf16",
            save_every=250,
        )
    )
    """The optimisation; the weak snapshot is taken after a sixteenth of the steps if it does not
    say when."""
    dropped: float = 0.15
    """Share of the labels replaced by "no label", which the model so learns."""

    def __post_init__(self) -> None:
        if not 0 <= self.dropped <= 1:
            raise ValueError(f"the share of dropped labels is in [0, 1], got {self.dropped}")


def settled(config: ImageTraining, images: Images) -> ImageTraining:
    """Return the configuration with all that it leaves to the pictures and to other numbers."""
    loop = with_snapshot(config.loop)
    return replace(config, loop=loop, model=fitted(config.model, images.train))


def run_training(images: Images, config: ImageTraining, folder: Path) -> Iterator[TrainState]:
    """Train in ``folder``, resuming what it holds; yields what :func:`guided.train.train` does.

    Args:
        images: those held out are left aside.
        config: as :func:`settled` returns it.
        folder: of the run.
    """
    with initial_weights(stream_seed(config.loop.seed)):
        denoiser = build(config.model)
    data, null = images.train, len(images.names)

    def batch(step: int, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        drawn = torch.randint(len(data), (config.loop.batch,), generator=generator)
        if data.labels is None:
            return data.x[drawn], None
        dropped = torch.rand(len(drawn), generator=generator) < config.dropped
        return data.x[drawn], data.labels[drawn].masked_fill(dropped, null)

    claim(folder / "training.json", asdict(config))
    yield from train(denoiser, batch, config.loop, folder)


@torch.no_grad()
def held_out_loss(weights: Weights, images: Images, config: ImageTraining) -> float:
    """Return the mean loss over up to 1,024 held-out pictures, always the same levels and noise.

    Raises:
        ValueError: where no picture is held out.
    """
    require_held_out(images)
    denoiser = build(config.model)
    denoiser.load_state_dict(weights)
    data = images.test
    losses = []
    for step, index in enumerate(torch.arange(min(len(data), 1024)).split(64)):
        cond = None if data.labels is None else data.labels[index]
        losses.append(denoiser.loss(data.x[index], cond, Rng(stream_seed(1, step))))
    return torch.cat(losses).mean().item()


def ship(target: Path, config: ImageTraining, state: TrainState, **about: Any) -> None:
    """Write the averaged weights of a finished run, and its weak snapshot, to ``target``."""
    facts = {"steps": state.step, "training": asdict(config), **about}
    save_model(target, config.model, state.ema, state.weak, **facts)
