"""train-classifier: the command that made the shipped classifiers, resumable."""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated

import tyro

from domains.image.data.images import require_held_out
from domains.image.data.source import load_images
from domains.image.train_classifier import (
    ClassifierTraining,
    held_out_accuracy,
    run_training,
    settled,
    ship,
)
from guided.progress import finished
from guided.results import require_writable, versions, write_json


@dataclass(frozen=True)
class TrainClassifier:
    """Train a classifier of clean pictures, to judge samples or to guide them.

    Run the same command again to resume after an interruption.
    """

    out: Path = Path("runs/judge")
    """Folder of the run; the finished classifier is in its folder ``model``."""
    data: str = "digits"
    """``digits``, an IDX file, a folder of IDX files, or a folder of classes of pictures."""
    size: int | None = None
    """Resize and cut pictures to squares of this many pixels."""
    grey: bool = False
    """Make colours grey."""
    config: Annotated[ClassifierTraining, tyro.conf.arg(name="")] = field(
        default_factory=ClassifierTraining
    )
    """Model, copies and optimisation."""
    json: Path | None = None
    """Write the figures of the run to this file."""
    quick: bool = False
    """Twenty steps of eight pictures: a smoke test."""

    def run(self) -> None:
        """Train, then write the classifier and its accuracy on pictures that were held out.

        Raises:
            ValueError: for pictures or settings that do not go together, or folders that cannot be
                written.
        """
        require_writable(self.out / "training.json", self.json)
        config = self.config
        if self.quick:
            loop = replace(config.loop, steps=20, batch=8, warmup=5, save_every=10, log_every=5)
            config = replace(config, loop=loop)
        images = load_images(self.data, self.size, self.grey)
        require_held_out(images)
        config = settled(config, images)
        state = finished(run_training(images, config, self.out), config.loop.steps)
        right = held_out_accuracy(state.ema, images, config)
        ship(self.out / "model", config, state, held_out_accuracy=right)
        print(f"held-out accuracy {right:.1%}; wrote {self.out / 'model'}")
        if self.json is not None:
            figures = {"held_out_accuracy": right, "loss": state.loss, "steps": state.step}
            run = {"training": asdict(config), "versions": versions()}
            write_json(self.json, {**figures, **run})
