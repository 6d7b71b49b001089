"""Training a classifier of clean pictures on moved, noisy and blurred copies of them."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from domains.image.classifier import Classifier, ClassifierConfig, accuracy, save_classifier
from domains.image.data.images import Images
from guided.checkpoint import Weights
from guided.resume import claim
from guided.rng import Rng, initial_weights, stream_seed
from guided.train import TrainConfig, TrainState, train


@dataclass(frozen=True)
class ClassifierTraining:
    """Everything a training run depends on but the pictures."""

    model: ClassifierConfig = field(default_factory=ClassifierConfig)
    """The architecture."""
    loop: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            steps=1_500,
            batch=64,
            lr=2e-3,
            warmup=50,
            decay="cosine",
            ema=0.99,
            weight_decay=0.05,
            save_every=250,
        )
    )
    """The optimisation."""
    half: Literal["even", "odd", "all"] = "all"
    """Which of the training pictures: every other one, so that two classifiers share none."""
    move: float = 0.15
    """How far copies are moved, turned and stretched: 1 is half a picture, 1 radian and twofold."""
    noise: float = 0.3
    """Largest standard deviation of the noise on copies, in units of the pixels."""
    blur: float = 0.0
    """Largest share of a copy that is blurred, as early clean estimates of a denoiser are."""

    def __post_init__(self) -> None:
        if self.half not in ("even", "odd", "all"):
            raise ValueError(f"unknown half {self.half!r}; expected 'even', 'odd' or 'all'")
        if not (0 <= self.move < 1 and self.noise >= 0 and 0 <= self.blur <= 1):
            raise ValueError(
                f"expected a move in [0, 1), a noise of at least 0 and a blur in [0, 1], got "
                f"{self.move}, {self.noise} and {self.blur}"
            )


def settled(config: ClassifierTraining, images: Images) -> ClassifierTraining:
    """Return the configuration with all that it leaves to the pictures.

    Raises:
        ValueError: for pictures without labels.
    """
    if not images.names:
        raise ValueError(
            "the pictures have no labels, so there is nothing to classify; put them into one "
            "folder for every class"
        )
    channels, height, width = images.x.shape[1:]
    model = replace(config.model, shape=(channels, height, width), names=images.names)
    return replace(config, model=model)


def run_training(images: Images, config: ClassifierTraining, folder: Path) -> Iterator[TrainState]:
    """Train in ``folder``, resuming what it holds; yields what :func:`guided.train.train` does.

    Args:
        images: those held out are left aside.
        config: as :func:`settled` returns it.
        folder: of the run.
    """
    with initial_weights(stream_seed(config.loop.seed)):
        classifier = Classifier(config.model)
    data = chosen(images, config.half)
    x, labels = data.x, data.labels

    def batch(step: int, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        drawn = torch.randint(len(x), (config.loop.batch,), generator=generator)
        copies = varied(x[drawn], config, Rng.wrap(generator))
        return copies, None if labels is None else labels[drawn]

    def loss(x0: Tensor, cond: Tensor, _: Rng) -> Tensor:
        return functional.cross_entropy(classifier(x0), cond, reduction="none")

    claim(folder / "training.json", asdict(config))
    yield from train(classifier, batch, config.loop, folder, loss=loss)


def chosen(images: Images, half: str) -> Images:
    """Return the training pictures of a half: ``even``, ``odd`` or ``all``.

    Raises:
        ValueError: where none is left.
    """
    index = torch.arange(len(images))[~images.held_out]
    index = {"even": index[::2], "odd": index[1::2], "all": index}[half]
    if not len(index):
        raise ValueError(f"no picture is left to train on of {len(images)}; give more")
    return images.take(index)


def varied(x: Tensor, config: ClassifierTraining, rng: Rng) -> Tensor:
    """Return copies of pictures (B, C, H, W), each moved, blurred and made noisy."""
    column = (len(x), 1, 1, 1)
    drawn = config.move * (2 * rng.uniform((5, len(x))) - 1)
    turn, wide, tall, shift_x, shift_y = drawn
    cos, sin = turn.cos(), turn.sin()
    affine = torch.stack([cos * wide.exp(), -sin, shift_x, sin, cos * tall.exp(), shift_y], dim=1)
    grid = functional.affine_grid(affine.unflatten(1, (2, 3)), list(x.shape), align_corners=False)
    moved = functional.grid_sample(x + 1, grid, align_corners=False) - 1
    soft = functional.avg_pool2d(moved, 3, stride=1, padding=1, count_include_pad=False)
    mixed = torch.lerp(moved, soft, config.blur * rng.uniform(column))
    return mixed + config.noise * rng.uniform(column) * rng.normal(x.shape)


def held_out_accuracy(weights: Weights, images: Images, config: ClassifierTraining) -> float:
    """Return the accuracy on the held-out pictures, in [0, 1].

    Raises:
        ValueError: where none is held out.
    """
    classifier, data = Classifier(config.model), images.test
    classifier.load_state_dict(weights)
    if data.labels is None or not len(data):
        raise ValueError(f"none of {len(images)} pictures is held out; give more pictures")
    return accuracy(classifier, data.x, data.labels)


def ship(target: Path, config: ClassifierTraining, state: TrainState, **about: Any) -> None:
    """Write the averaged weights of a finished run to ``target``."""
    facts = {"steps": state.step, "training": asdict(config), **about}
    save_classifier(target, config.model, state.ema, **facts)
