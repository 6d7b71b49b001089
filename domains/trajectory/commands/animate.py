"""animate: a film of a forecast, or of two side by side."""

from collections import Counter
from collections.abc import Sequence
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
            ValueError: for a file that is given twice, and what cannot be read or written.
        """
        if not self.forecasts:
            raise ValueError("give one or more forecasts, as predict and guide write them")
        names = headings_of(self.forecasts)
        pairs = zip(names, self.forecasts, strict=True)
        found = {name: read_forecast(path) for name, path in pairs}
        if len(found) == 1:
            (only,) = found.values()
            animate(only, self.out, self.world, self.fps)
        else:
            animate_comparison(found, self.out, self.world, self.fps)
        print(self.out)


def headings_of(paths: Sequence[Path]) -> list[str]:
    """Return one name for each file: its stem, with its folder where stems repeat.

    Raises:
        ValueError: for a file that is given twice.
    """
    whole = [path.resolve() for path in paths]
    for path, times in Counter(whole).items():
        if times > 1:
            raise ValueError(f"{path} is given {times} times; give each forecast once")
    ways = [(path.stem, f"{path.parent.name}/{path.stem}", str(path)) for path in whole]
    taken = Counter(name for way in ways for name in way)
    return [next(name for name in way if taken[name] == 1) for way in ways]
