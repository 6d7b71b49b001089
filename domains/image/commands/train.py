"""train: the command that made the shipped denoisers, resumable."""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated

import tyro

from domains.image.data.images import require_held_out
from domains.image.data.source import load_images
from domains.image.train import ImageTraining, held_out_loss, run_training, settled, ship
from guided.progress import finished
from guided.results import require_writable, versions, write_json


@dataclass(frozen=True)
class Train:
    """Train a denoiser of pictures, with labels if they have any, and keep an early snapshot of it.

    Run the same command again to resume after an interruption.
    """

    out: Path = Path("runs/digits")
    """Folder of the run; the finished model is in its folder ``model``."""
    data: str = "digits"
    """``digits``, an IDX file, or a folder of IDX files, of pictures or of classes of them."""
    size: int | None = None
    """Resize and cut pictures to squares of this many pixels."""
    grey: bool = False
    """Make colours grey."""
    config: Annotated[ImageTraining, tyro.conf.arg(name="")] = field(default_factory=ImageTraining)
    """Model and optimisation."""
    json: Path | None = None
    """Write the figures of the run to this file."""
    quick: bool = False
    """Twenty steps of eight pictures: a smoke test."""

    def run(self) -> None:
        """Train, then write the model.

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
        loss = held_out_loss(state.ema, images, config)
        ship(self.out / "model", config, state, held_out_loss=loss)
        print(f"held-out loss {loss:.4f}; wrote {self.out / 'model'}")
        if self.json is not None:
            figures = {"held_out_loss": loss, "loss": state.loss, "steps": state.step}
            run = {"training": asdict(config), "versions": versions()}
            write_json(self.json, {**figures, **run})
