"""predict: joint forecasts of scenes, as JSON and pictures."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from domains.trajectory.commands.chosen import Chosen, forecasts, written
from domains.trajectory.contrast import contrasted
from domains.trajectory.predict import Sampling, require_start
from guided.guidance.registry import Named
from guided.results import require_writable


@dataclass(frozen=True)
class Predict:
    """Forecast what everybody in a scene will do, jointly: worlds with probabilities.

    Samples are drawn in a few network calls, and grouped into as many worlds as asked for.
    """

    scenes: Annotated[Chosen, tyro.conf.arg(name="")] = field(default_factory=Chosen)
    """Which scenes, and which predictor."""
    how: Annotated[Sampling, tyro.conf.arg(name="")] = field(default_factory=Sampling)
    """How samples are drawn."""
    named: Annotated[Named, tyro.conf.arg(name="")] = field(default_factory=Named)
    """Guidance of the predictor itself."""
    worlds: int = 6
    """Worlds to choose of the samples; 0 keeps them all."""
    out: Path = Path("forecasts")
    """Folder of the files."""
    quick: bool = False
    """One scene, 8 samples: a smoke test."""

    def run(self) -> None:
        """Forecast and write.

        Raises:
            ValueError: for what cannot be read or written, and guidance that does not fit.
        """
        require_writable(self.out / "forecast.json")
        predictor, scenes = self.scenes.load()
        how = Sampling(8, 2, self.how.start, self.how.seed) if self.quick else self.how
        require_start(predictor, how)
        scenes = scenes[:1] if self.quick else scenes
        guide = contrasted(self.named, self.scenes.weak())
        found = forecasts(predictor, scenes, how, self.worlds or None, guide)
        for path in written(self.out, found):
            print(path)
