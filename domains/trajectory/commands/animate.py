"""animate: a film of a forecast, or of two side by side."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from domains.trajectory.animate import FPS, animate, animate_comparison
from domains.trajectory.scene_file import read_forecast


@dataclass(frozen=True)
class Animate:
    """Film a forecast at real speed: history, then one world, the others as ghosts.

    Several forecasts are shown side by side, e.g. the two that guide writes.
    """

    forecasts: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Files of predict or guide (.json)."""
    out: Path = Path("forecast.gif")
    """The film: .gif, or .mp4 where ffmpeg is installed."""
    world: int | None = None
    """Which world happens; None is the most likely."""
    fps: float = FPS
    """Frames a second."""

    def run(self) -> None:
        """Film.

        Raises:
            ValueError: for what cannot be read or written.
        """
        if not self.forecasts:
            raise ValueError("give one or more forecasts, as predict and guide write them")
        found = {path.stem: read_forecast(path) for path in self.forecasts}
        if len(found) == 1:
            (only,) = found.values()
            animate(only, self.out, self.world, self.fps)
        else:
            animate_comparison(found, self.out, self.world, self.fps)
        print(self.out)
