"""fit-latent: principal components of futures, as many as a given error asks for."""

from dataclasses import dataclass, field
from pathlib import Path

from domains.trajectory.batch import Window
from domains.trajectory.dataset import Dataset
from domains.trajectory.latents import Latents
from domains.trajectory.model import ModelConfig
from domains.trajectory.training_data import Scenes
from guided.checkpoint import load, save
from guided.results import require_writable, write_json


@dataclass(frozen=True)
class FitLatent:
    """Fit principal components of agents' futures, and print what each number of them loses.

    ``train`` does this by itself; give it the result with ``--latents`` to share one between runs.
    """

    out: Path = Path("runs/latents")
    """Folder to write them to."""
    scenes: Scenes = field(default_factory=Scenes)
    """What to fit them to."""
    window: Window = field(default_factory=Window)
    """How long futures are."""
    dim: int | None = None
    """How many components; None = the fewest that meet ``error``."""
    error: float = 0.05
    """Metres that the reconstruction may miss the last point by, on average over held-out ones."""
    most: int = 12
    """Components to try."""
    json: Path | None = None
    """Write the figures to this file."""
    quick: bool = False
    """A few generated scenes: a smoke test."""

    def run(self) -> None:
        """Fit, print a table, write the latents.

        Raises:
            ValueError: for a number of components that futures do not have, scenes that cannot be
                read, or an error that no number meets.
        """
        require_writable(self.out / "config.json", self.json)
        if self.most < 1:
            raise ValueError(f"try 1 or more components, got {self.most}; raise --most")
        largest = 2 * self.window.future
        if self.dim is not None and not 1 <= self.dim <= largest:
            raise ValueError(
                f"futures of {self.window.future} points have 1 to {largest} components, got "
                f"{self.dim}; change --dim"
            )
        scenes = self.scenes.few() if self.quick else self.scenes
        data, held_out = (Dataset(s, self.window).futures() for s in scenes.load(self.window))
        rows, chosen = [], self.dim
        print(f"{len(data)} futures of {self.window.future} points, {len(held_out)} held out")
        print("components  mean error (m)  final error (m)")
        for dim in range(1, min(self.most, largest) + 1):
            mean, final = Latents(self.window.future, dim).fit(data).reconstruction(held_out)
            rows.append({"dim": dim, "mean": float(mean), "final": float(final)})
            print(f"{dim:10d}  {mean:14.4f}  {final:15.4f}")
            if chosen is None and final <= self.error:
                chosen = dim
        if chosen is None:
            raise ValueError(
                f"{self.most} components still miss the last point by {rows[-1]['final']:.3f} m, "
                f"more than {self.error} m; raise --error or --most"
            )
        latents = Latents(self.window.future, chosen).fit(data)
        about = {"future": self.window.future, "dim": chosen}
        save(self.out, {"latents": about}, latents=latents.state_dict())
        if self.json is not None:
            write_json(self.json, {"chosen": chosen, "rows": rows})
        print(f"wrote {chosen} components to {self.out}")


def load_latents(folder: Path, config: ModelConfig) -> Latents:
    """Return latents of :class:`FitLatent` for a model.

    Raises:
        ValueError: for latents of another length or number than the model's.
        CheckpointError: for a folder that holds none.
    """
    stored, tensors = load(folder)
    found = stored.get("latents", {})
    wanted = {"future": config.window.future, "dim": config.latents}
    if found != wanted:
        raise ValueError(
            f"{folder} holds latents of {found}, and the model needs {wanted}; set "
            f"--model.window.future and --model.latents alike, or fit others"
        )
    latents = Latents(**wanted)
    latents.load_state_dict(tensors["latents"])
    return latents
