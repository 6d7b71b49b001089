"""plot: a scene or a forecast from above."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from domains.trajectory.plots import plot_forecast, plot_scene
from domains.trajectory.scene_file import file_name, forecast_in, free_name
from domains.trajectory.sources import open_scenes
from guided.results import require_writable


@dataclass(frozen=True)
class Plot:
    """Draw scenes, or forecasts with their samples, from above: map, history, goals."""

    source: Annotated[str, tyro.conf.Positional]
    """A forecast of predict or guide (.json), or scenes as of predict --source."""
    out: Path = Path("pictures")
    """Folder of the pictures."""
    count: int = 4
    """At most so many scenes; 0 = all."""
    seed: int = 1
    """Of generated scenes."""
    truth: bool = True
    """Draw what happened as well, where it is known."""

    def run(self) -> None:
        """Draw.

        Raises:
            ValueError: for what cannot be read or written.
        """
        require_writable(self.out / "picture.png")
        forecast = forecast_in(self.source)
        if forecast is not None:
            path = self.out / f"{file_name(forecast.scene)}.png"
            plot_forecast(forecast, path, truth=self.truth)
            print(path)
            return
        taken: set[str] = set()
        for scene in open_scenes(self.source, self.count, self.seed):
            path = self.out / f"{free_name(scene, taken)}.png"
            plot_scene(scene if self.truth else scene.history(), path)
            print(path)
