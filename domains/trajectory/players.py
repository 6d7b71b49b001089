"""The agents of one panel of a film, at any of its frames."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from domains.trajectory.bodies import Body, fading
from domains.trajectory.drawing import OTHERS, draw_map, scale_bar
from domains.trajectory.forecast import Forecast
from domains.trajectory.playback import evenly, motion, spread
from domains.trajectory.plots import draw_goals, opacity
from guided.figures import FRAME

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

TRAIL = 2.0  # seconds
GHOSTS = 32  # other worlds shown, at most
FAINTER = 0.7  # than the samples of a picture
NAMED = 16  # predicted agents: the names of more would cover each other
STAYS = 0.35  # opacity, after now, of who is not predicted


class Player:
    """The agents of one panel at any frame.

    Args:
        axes: the panel.
        forecast: what is shown.
        world: which one happens.
        times: (T,), of the frames.
        colours: of predicted agents, by id.
    """

    def __init__(
        self,
        axes: "Axes",
        forecast: Forecast,
        world: int,
        times: NDArray[np.float64],
        colours: Mapping[str, str],
    ) -> None:
        from matplotlib.collections import LineCollection

        scene = forecast.scene
        self.times, self.predicted = times, set(forecast.agents.tolist())
        self.motion = motion(forecast, world, times)
        draw_map(axes, scene.road)
        draw_goals(axes, forecast, colours)
        scale_bar(axes)
        likely = f"world {world} of {len(forecast.worlds)}, p = {forecast.probabilities[world]:.2g}"
        axes.set_title(likely, loc="right", fontsize=9, color=FRAME, pad=7)
        self.shades = [
            colours[id] if a in self.predicted else OTHERS for a, id in enumerate(scene.ids)
        ]
        names = self.predicted if len(self.predicted) <= NAMED else set()
        self.bodies = [
            Body(axes, kind, self.shades[a], scene.ids[a] if a in names else "", halo=False)
            for a, kind in enumerate(scene.kinds)
        ]
        self.trails = LineCollection([], linewidths=2.4, zorder=4, capstyle="butt")
        axes.add_collection(self.trails, autolim=False)
        self.ghosts = _Ghosts(
            axes, forecast, world, times, [self.shades[a] for a in forecast.agents]
        )

    def moving(self) -> "list[Artist]":
        """Return all artists that :meth:`show` changes."""
        bodies = [artist for body in self.bodies for artist in body.artists]
        names = [body.name for body in self.bodies if body.name is not None]
        return [*self.ghosts.artists, self.trails, *bodies, *names]

    def show(self, index: int) -> None:
        """Move everybody to where they are at a frame."""
        places, headings = self.motion
        for a, body in enumerate(self.bodies):
            body.show(bool(np.isfinite(headings[a, index])))
            if np.isfinite(headings[a, index]):
                body.put(places[a, index], headings[a, index])
            if a not in self.predicted:
                body.fade(1.0 if self.times[index] <= 0 else STAYS)
        pace = self.times[1] - self.times[0] if len(self.times) > 1 else 1.0
        first = max(0, index - round(TRAIL / pace))
        pieces, shades = fading(places[:, first : index + 1], self.shades)
        self.trails.set_segments(list(pieces))
        self.trails.set_color(cast(Any, shades))  # an array: a list takes ten times as long
        self.ghosts.show(index)


class _Ghosts:
    """Other worlds: thin lines that grow after now, with dots at their heads."""

    def __init__(
        self,
        axes: "Axes",
        forecast: Forecast,
        world: int,
        times: NDArray[np.float64],
        shades: list[str],
    ) -> None:
        from matplotlib.collections import LineCollection

        others = np.delete(np.arange(len(forecast.worlds)), world)
        picked = others[evenly(len(others), GHOSTS)]
        later = np.append(0.0, times[times > 0])
        self.before = len(times) - len(later)  # index of the last frame without ghosts
        self.lines = spread(forecast, later)[picked].reshape(-1, len(later), 2)
        colours = shades * len(picked)
        alpha = FAINTER * opacity(len(picked))
        self.tails = LineCollection([], colors=colours, alpha=alpha, linewidths=1.0, zorder=3)
        axes.add_collection(self.tails, autolim=False)
        self.heads = axes.scatter(
            self.lines[:, 0, 0], self.lines[:, 0, 1], s=9, c=colours, linewidths=0, zorder=3.2,
            alpha=min(1.0, 1.6 * alpha),
        )  # fmt: skip
        self.artists: list[Artist] = [self.tails, self.heads]

    def show(self, index: int) -> None:
        """Let the lines end at a frame."""
        last = index - self.before
        for artist in self.artists:
            artist.set_visible(last > 0)
        if last > 0:
            self.tails.set_segments(list(self.lines[:, : last + 1]))
            self.heads.set_offsets(self.lines[:, last])
