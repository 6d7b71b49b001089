"""What the commands that forecast have in common: a predictor, scenes, and files for each."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from domains.trajectory.forecast import Forecast
from domains.trajectory.model import SHIPPED, Predictor, load_model, load_models
from domains.trajectory.plots import plot_forecast
from domains.trajectory.predict import Guide, Sampling, predict, unguided
from domains.trajectory.scene import Scene
from domains.trajectory.scene_file import free_name, write_forecast
from domains.trajectory.sources import open_scenes


@dataclass(frozen=True)
class Chosen:
    """Which scenes, and which predictor."""

    source: str = "mixed"
    """A kind of the built-in generator (mixed, highway, crossing, plaza), an environment of
    highway-env as highway-env:merge-v0, or a file: a scene or forecast as .json, CommonRoad as
    .xml, Argoverse 2 as .parquet or a folder of them, ETH/UCY pedestrians as .txt, or
    FOLDER:eth for the test windows of a fold."""
    count: int = 4
    """At most so many scenes; 0 = all of the files."""
    scene_seed: int = 1
    """Of scenes that are made."""
    model: Path = SHIPPED
    """Folder of a predictor; the shipped one is trained on the built-in generator."""

    def load(self) -> tuple[Predictor, list[Scene]]:
        """Return the predictor and the scenes.

        Raises:
            ValueError: for what cannot be read.
        """
        torch.set_num_threads(1)  # the fastest for a network as small as this
        predictor = load_model(self.model)
        return predictor, open_scenes(
            self.source, self.count, self.scene_seed, predictor.config.window
        )

    def weak(self) -> Predictor | None:
        """Return the predictor as it was early in its training, if that was kept.

        Raises:
            CheckpointError: for a missing, truncated or foreign checkpoint.
        """
        return load_models(self.model).get("weak")


def forecasts(
    predictor: Predictor,
    scenes: list[Scene],
    how: Sampling,
    worlds: int | None,
    guide: Guide = unguided,
) -> list[Forecast]:
    """Return the forecasts in the order of the scenes, under a progress bar."""
    found: dict[int, Forecast] = {}
    for i, forecast in tqdm(
        predict(predictor, scenes, how, worlds, guide),
        total=len(scenes),
        desc="forecasting",
        unit="scene",
    ):
        found[i] = forecast
    return [found[i] for i in range(len(scenes))]


def written(folder: Path, found: list[Forecast], pictures: bool = True) -> Iterator[Path]:
    """Write each forecast as JSON, and as a picture; yield the files."""
    taken: set[str] = set()
    for forecast in found:
        path = folder / f"{free_name(forecast.scene, taken)}.json"
        write_forecast(path, forecast)
        yield path
        if pictures:
            plot_forecast(forecast, path.with_suffix(".png"))
            yield path.with_suffix(".png")
