"""demo: a crossing as it may go on, and as it would if somebody braked or went elsewhere."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from domains.trajectory.animate import animate
from domains.trajectory.commands.chosen import Chosen, forecasts, written
from domains.trajectory.commands.guide import Guide
from domains.trajectory.model import SHIPPED, load_model
from domains.trajectory.predict import Sampling
from domains.trajectory.scene import Scene
from domains.trajectory.sources import open_scenes
from guided.results import require_writable

RATE = 3.0  # metres a second, each second, by which the fastest car brakes
GAP = 2.5  # metres that everybody keeps


@dataclass(frozen=True)
class Demo:
    """Forecast a crossing, a highway and a plaza with the shipped predictor, then change one.

    The fastest car of the crossing brakes, and everybody keeps their distance. Writes forecasts,
    pictures and films.
    """

    out: Path = Path("demo-trajectory")
    """Folder of everything."""
    seed: int = 7
    """Of the scenes and the samples."""
    quick: bool = False
    """Few samples and no film: a smoke test."""

    def run(self) -> None:
        """Forecast, guide, draw.

        Raises:
            ValueError: for packages that are missing, or a folder that cannot be written.
        """
        require_writable(self.out / "picture.png")
        predictor = load_model(SHIPPED)
        window = predictor.config.window
        scenes = [
            open_scenes(kind, 1, self.seed, window)[0] for kind in ("crossing", "highway", "plaza")
        ]
        how = Sampling(samples=8 if self.quick else 64, seed=self.seed)
        found = forecasts(predictor, scenes, how, 6)
        for path in written(self.out, found):
            print(path)
        if not self.quick:
            animate(found[0], self.out / f"{scenes[0].name}.gif")
            print(self.out / f"{scenes[0].name}.gif")
        who = fastest(scenes[0])
        Guide(
            ask=(f"agent {who}: brake by {RATE:g}", f"all: apart {GAP:g}"),
            scenes=Chosen("crossing", 1, self.seed),
            how=replace(Guide().how, seed=self.seed),
            out=self.out / "braking",
            film=not self.quick,
            quick=self.quick,
        ).run()


def fastest(scene: Scene) -> str:
    """Return the id of the fastest vehicle that is seen now; where there is none, of anybody."""
    speeds = np.where(scene.present, (scene.velocities() ** 2).sum(1), -1.0)
    cars = scene.present & (np.array(scene.kinds) == "vehicle")
    return scene.ids[int(np.where(cars, speeds, -1.0).argmax() if cars.any() else speeds.argmax())]
