"""train: the command that made the shipped predictor, and makes your own."""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated

import torch
import tyro

from domains.trajectory.commands.fit_latent import load_latents
from domains.trajectory.dataset import Dataset
from domains.trajectory.train import TrajectoryTraining, held_out_losses, run_training, ship
from domains.trajectory.training_data import Scenes
from guided.progress import finished
from guided.results import require_writable


@dataclass(frozen=True)
class Train:
    """Train a predictor: latents, marginal modes and joint denoiser.

    Run the same command again to resume after an interruption. For a fold of ETH/UCY from a local
    copy: ``--scenes.source FOLDER:eth`` with the settings that the README names.
    """

    out: Path = Path("runs/trajectory")
    """Folder of the run; the finished model is in its folder ``model``."""
    scenes: Scenes = field(default_factory=Scenes)
    """What to train on."""
    latents: Path | None = None
    """Latents of ``fit-latent``; None fits them to the training scenes."""
    config: Annotated[TrajectoryTraining, tyro.conf.arg(name="")] = field(
        default_factory=TrajectoryTraining
    )
    """Model and optimisation."""
    quick: bool = False
    """A few steps on a few scenes: a smoke test."""

    def run(self) -> None:
        """Read, train, then write the model.

        Raises:
            ValueError: for scenes that cannot be read, or folders that cannot be written.
        """
        torch.set_num_threads(1)  # the fastest for a network as small as this
        require_writable(self.out / "training.json")
        config, scenes = self.config, self.scenes
        if self.quick:
            loop = replace(config.loop, steps=6, batch=4, warmup=2, save_every=3, log_every=2)
            config, scenes = replace(config, loop=loop), scenes.few()
        data, held_out = (Dataset(s, config.model.window) for s in scenes.load(config.model.window))
        fitted = None if self.latents is None else load_latents(self.latents, config.model)
        source = {**asdict(scenes), "latents": None if fitted is None else str(self.latents)}
        states = run_training(data, config, self.out, fitted, source)
        state = finished(states, config.loop.steps)
        modes, joint = held_out_losses(state.ema, held_out, config)
        about = {"scenes": scenes.source, "held_out": {"modes": modes, "denoiser": joint}}
        ship(self.out / "model", data, config, state, **about)
        print(f"held-out losses: modes {modes:.3f}, denoiser {joint:.3f}")
        print(f"wrote {self.out / 'model'}")
