"""Films of forecasts at real speed: the history, then one world, with the others as ghosts.

Everything that stands still is drawn once; a frame draws what moves on top of it.
"""

import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from domains.trajectory.drawing import BORDER, FOOTER, legend, panels
from domains.trajectory.films import Frame, require_film, write_film
from domains.trajectory.forecast import Forecast
from domains.trajectory.playback import span
from domains.trajectory.players import Player
from domains.trajectory.plots import common_colours, common_view, require_drawable
from guided.figures import FAINT, FRAME, INK, Path

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.backends.backend_agg import FigureCanvasAgg

NARROW, WIDE = 9.0, 12.0  # inches: one panel, and several
FPS = 12.5
SAME = 1e-6  # seconds
MINUS = "\N{MINUS SIGN}"  # as wide as the plus


def animate(forecast: Forecast, path: Path, world: int | None = None, fps: float = FPS) -> None:
    """Film a forecast: its history, then one of its worlds, at real speed.

    Args:
        forecast: what to show. Agents who are not predicted fade after now; predicted ones have
            their ids beside them if there are at most 16.
        path: a .gif, or with ffmpeg a .mp4, 900 pixels wide.
        world: which one happens; None is the most likely, the first of equals. At most 32 others
            are shown as ghosts, evenly picked.
        fps: frames a second, 1 to 50; a GIF rounds to hundredths of a second a frame.

    Raises:
        ValueError: for a forecast without worlds, steps or agents, a world that is not there, or a
            film that cannot be written.
    """
    _film({forecast.scene.name: forecast}, path, world, fps, NARROW)


def animate_comparison(
    forecasts: Mapping[str, Forecast], path: Path, world: int | None = None, fps: float = FPS
) -> None:
    """Film forecasts side by side in one view, at the same time, 1200 pixels wide.

    Args:
        forecasts: by the headings of their panels; of equally long histories and futures. An agent
            has the same colour in all of them.
        path: as for :func:`animate`.
        world: as for :func:`animate`, in each.
        fps: as for :func:`animate`.

    Raises:
        ValueError: without forecasts, for forecasts of different times, and as :func:`animate`.
    """
    _film(forecasts, path, world, fps, WIDE)


def _film(
    forecasts: Mapping[str, Forecast], path: Path, world: int | None, fps: float, inches: float
) -> None:
    require_drawable(forecasts)
    target = pathlib.Path(path)
    pace = require_film(target, fps)
    stage = Stage(forecasts, world, pace, inches)
    write_film(target, stage.frame, len(stage.times), pace)


def frame_times(forecasts: Mapping[str, Forecast], pace: float) -> NDArray[np.float64]:
    """Return the times of all frames, seconds from now, the last at the end of the worlds.

    Raises:
        ValueError: where forecasts begin or end at different times.
    """
    spans = {name: span(forecast) for name, forecast in forecasts.items()}
    (first, (start, end)), *others = spans.items()
    for name, (begins, ends) in others:
        if abs(begins - start) > SAME or abs(ends - end) > SAME:
            raise ValueError(
                f"{name} lasts from {begins:g} to {ends:g} s and {first} from {start:g} to "
                f"{end:g} s; compare forecasts of the same times"
            )
    count = int(np.ceil((end - start) / pace - SAME)) + 1
    return np.minimum(start + pace * np.arange(count), end)


class Stage:
    """A figure that can show every frame of a film.

    Args:
        forecasts: by the headings of their panels.
        world: which one happens; None is the most likely.
        pace: seconds from frame to frame.
        inches: width.

    Raises:
        ValueError: for forecasts of different times, or a world that is not there.
    """

    def __init__(
        self,
        forecasts: Mapping[str, Forecast],
        world: int | None,
        pace: float,
        inches: float = NARROW,
    ) -> None:
        self.times = frame_times(forecasts, pace)
        worlds = {name: _chosen(name, forecast, world) for name, forecast in forecasts.items()}
        self.figure, grid = panels(list(forecasts), common_view(forecasts, truth=False), inches)
        self.canvas = cast("FigureCanvasAgg", self.figure.canvas)
        colours = common_colours(forecasts)
        self.players = [
            Player(axes, forecast, worlds[name], self.times, colours)
            for axes, (name, forecast) in zip(grid, forecasts.items(), strict=True)
        ]
        self._draw_frame(forecasts)
        self.background = self._still()

    def _draw_frame(self, forecasts: Mapping[str, Forecast]) -> None:
        """Draw the legend on the left of the footer, on its right the time that has passed."""
        from matplotlib.lines import Line2D

        marks = {
            "other worlds": any(len(f.worlds) > 1 for f in forecasts.values()),
            "goal": any(f.goals for f in forecasts.values()),
        }
        legend(self.figure, [mark for mark, is_there in marks.items() if is_there])
        inches, tall = self.figure.get_size_inches()
        left, right, y = 0.42, 1 - BORDER / inches, FOOTER / 2 / tall
        self.clock = self.figure.text(
            left - 0.014, y, "", fontsize=12, color=INK, ha="right", va="center_baseline"
        )
        start, end = self.times[[0, -1]]
        now = left + (right - left) * -start / max(end - start, SAME)
        self.bar = Line2D([left, left], [y, y], color=INK, linewidth=2.6, solid_capstyle="butt")
        whole = Line2D([left, right], [y, y], color=FAINT, linewidth=2.6, solid_capstyle="butt")
        tick = Line2D([now, now], [y - 0.06 / tall, y + 0.06 / tall], color=FRAME, linewidth=1.2)
        for line in (whole, tick, self.bar):
            self.figure.add_artist(line)
        self.edges = (left, right)

    def moving(self) -> "list[Artist]":
        """Return what a frame draws, from the lowest to the highest."""
        found = [artist for player in self.players for artist in player.moving()]
        return [*sorted(found, key=lambda artist: artist.get_zorder()), self.clock, self.bar]

    def _still(self) -> Any:
        for artist in self.moving():
            artist.set_animated(True)
        self.canvas.draw()
        return self.canvas.copy_from_bbox(self.figure.bbox)

    def frame(self, index: int) -> Frame:
        """Return a frame, (height, width, 3)."""
        time = self.times[index]
        for player in self.players:
            player.show(index)
        left, right = self.edges
        start, end = self.times[[0, -1]]
        share = (time - start) / max(end - start, SAME)
        self.bar.set_xdata([left, left + (right - left) * share])
        self.clock.set_text("now" if abs(time) < 0.05 else f"{time:+.1f} s".replace("-", MINUS))
        self.clock.set_color(FRAME if time < -0.05 else INK)
        self.canvas.restore_region(self.background)
        for artist in self.moving():
            self.figure.draw_artist(artist)
        return np.asarray(self.canvas.buffer_rgba())[..., :3].copy()


def _chosen(name: str, forecast: Forecast, world: int | None) -> int:
    if world is None:
        return int(forecast.probabilities.argmax())
    if not 0 <= world < len(forecast.worlds):
        raise ValueError(
            f"{name} has no world {world}; give one of 0 to {len(forecast.worlds) - 1}"
        )
    return world
