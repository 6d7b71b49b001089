"""Top-down pictures: a scene, a forecast, and several forecasts side by side.

Conventions:
    Every function returns a Figure and writes a PNG, 1200 pixels wide, where a path is given, in
    one piece. Predicted agents have one colour each, by their order; all others are grey. Bodies
    have the usual size of their kind, but are never drawn smaller than can be seen.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from domains.trajectory.bodies import Body, fading
from domains.trajectory.drawing import (
    OTHERS,
    View,
    colours_of,
    draw_map,
    label,
    legend,
    metres_of_a_pixel,
    panels,
    scale_bar,
    view_of,
)
from domains.trajectory.forecast import Forecast
from domains.trajectory.scene import Scene
from guided.figures import INK, WIDTH, Path, save
from guided.results import in_one_piece, require_writable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DASHES = (0, (3, 2))


def plot_scene(scene: Scene, path: Path | None = None) -> "Figure":
    """Draw the map, everybody's history, where they are now, and dashed, where they went.

    Args:
        scene: what to draw; agents who are not seen now are left out. Where the scene says who is
            scored, the others are grey.
        path: PNG to write; None writes none.

    Raises:
        ValueError: for a scene in which nobody is seen now, or a path that cannot be written.
    """
    target = _target(path)
    here = np.flatnonzero(scene.present)
    shown = here if scene.scored is None else here[scene.scored[here]]
    colours = colours_of([scene.ids[a] for a in shown])
    lines = known_lines(scene)
    figure, (axes,) = panels([scene.name], view_of(lines[here].reshape(-1, 2)), WIDTH)
    draw_map(axes, scene.road)
    _draw_past(axes, scene, colours)
    _draw_truth(axes, lines[here, scene.now :])
    scale_bar(axes)
    legend(figure, ["history", "future"] if scene.horizon else ["history"])
    return _written(figure, target)


def plot_forecast(
    forecast: Forecast, path: Path | None = None, truth: bool = True, most_likely: bool = True
) -> "Figure":
    """Draw all worlds of a forecast over the map and the history of its scene.

    Args:
        forecast: what to draw.
        path: PNG to write; None writes none.
        truth: whether to draw what happened, dashed, where it is known.
        most_likely: whether to draw the world of the largest probability thicker. Where several
            share the largest, none is.

    Raises:
        ValueError: for a forecast without worlds, steps or agents, or a path that cannot be
            written.
    """
    return plot_comparison({forecast.scene.name: forecast}, path, truth, most_likely)


def plot_comparison(
    forecasts: Mapping[str, Forecast],
    path: Path | None = None,
    truth: bool = True,
    most_likely: bool = True,
) -> "Figure":
    """Draw forecasts side by side in one common view, as :func:`plot_forecast` draws each.

    Args:
        forecasts: by the headings of their panels. An agent has the same colour in all of them.
        path: PNG to write; None writes none.
        truth: as for :func:`plot_forecast`.
        most_likely: as for :func:`plot_forecast`.

    Raises:
        ValueError: without forecasts, and as :func:`plot_forecast`.
    """
    require_drawable(forecasts)
    target = _target(path)
    colours = common_colours(forecasts)
    figure, grid = panels(list(forecasts), common_view(forecasts, truth), WIDTH)
    for axes, forecast in zip(grid, forecasts.values(), strict=True):
        draw_map(axes, forecast.scene.road)
        _draw_samples(axes, forecast, colours, likeliest(forecast) if most_likely else None)
        draw_goals(axes, forecast, colours, arrows=True)
        if truth:
            _draw_truth(axes, truth_lines(forecast))
        _draw_past(axes, forecast.scene, colours)
        scale_bar(axes)
    legend(figure, _marks(list(forecasts.values()), truth, most_likely))
    return _written(figure, target)


def require_drawable(forecasts: Mapping[str, Forecast]) -> None:
    """Refuse forecasts that have nothing to draw.

    Raises:
        ValueError: without forecasts, or for one without worlds, agents or steps.
    """
    if not forecasts:
        raise ValueError("there is no forecast to draw; give at least one")
    for name, forecast in forecasts.items():
        if not forecast.worlds.size:
            raise ValueError(
                f"{name}: a forecast of shape {forecast.worlds.shape} has nothing to draw; predict "
                f"at least one world, agent and step"
            )


def common_colours(forecasts: Mapping[str, Forecast]) -> dict[str, str]:
    """Return a colour for the id of every agent that one of the forecasts predicts."""
    return colours_of([f.scene.ids[a] for f in forecasts.values() for a in f.agents])


def common_view(forecasts: Mapping[str, Forecast], truth: bool) -> View:
    """Return the view that holds predicted agents: history, worlds, goals, and truth if wanted."""
    points = []
    for forecast in forecasts.values():
        past = known_lines(forecast.scene)[forecast.agents, : forecast.scene.now + 1]
        points += [past, forecast.worlds, *(point[None] for _, point, _ in forecast.goals)]
        points += [truth_lines(forecast)] if truth else []
    return view_of(np.concatenate([part.reshape(-1, 2) for part in points]))


def known_lines(scene: Scene) -> NDArray[np.float64]:
    """Return the positions (A, T, 2), NaN where an agent was not seen."""
    return np.where(scene.valid[..., None], scene.positions, np.nan)


def truth_lines(forecast: Forecast) -> NDArray[np.float64]:
    """Return what happened from now to the end of the worlds, (N, n, 2) at the scene's steps."""
    scene = forecast.scene
    steps = int(np.floor(forecast.worlds.shape[2] * forecast.dt / scene.dt + 1e-6))
    return known_lines(scene)[forecast.agents, scene.now : scene.now + steps + 1]


def likeliest(forecast: Forecast) -> int | None:
    """Return the world of the largest probability; None where several share it."""
    best = np.flatnonzero(np.isclose(forecast.probabilities, forecast.probabilities.max()))
    return int(best[0]) if len(best) == 1 else None


def from_now(forecast: Forecast) -> NDArray[np.float64]:
    """Return the worlds with where each agent is now in front, (K, N, F + 1, 2)."""
    scene = forecast.scene
    start = known_lines(scene)[forecast.agents, scene.now]
    count = len(forecast.worlds)
    first = np.broadcast_to(start[None, :, None], (count, len(start), 1, 2))
    return np.concatenate([first, forecast.worlds], axis=2)


def opacity(worlds: int) -> float:
    """Return how opaque one of so many overlapping lines is."""
    return float(np.clip(5.0 / max(worlds, 1), 0.14, 0.55))


def draw_goals(
    axes: "Axes", forecast: Forecast, colours: Mapping[str, str], arrows: bool = False
) -> None:
    """Draw goals with their names: a star of its agent's colour, or a dark cross of nobody's.

    Args:
        axes: a panel.
        forecast: whose goals.
        colours: by id.
        arrows: whether a thin arrow leads to a goal from where its agent is now.
    """
    scene, pixel = forecast.scene, metres_of_a_pixel(axes)
    for name, point, agent in forecast.goals:
        colour = INK if agent is None else colours.get(scene.ids[agent], OTHERS)
        if arrows and agent is not None and scene.present[agent]:
            axes.annotate(
                "", tuple(point), tuple(scene.positions[agent, scene.now]), zorder=5,
                arrowprops={
                    "arrowstyle": "->", "color": colour, "linestyle": ":", "linewidth": 1.2,
                    "shrinkA": 10, "shrinkB": 8, "connectionstyle": "arc3,rad=0.18",
                },
            )  # fmt: skip
        marker, size = ("X", 10) if agent is None else ("*", 17)
        axes.plot(
            *point, marker=marker, markersize=size, color=colour, markeredgecolor="white",
            markeredgewidth=1.1, linewidth=0, zorder=8,
        )  # fmt: skip
        label(axes, (point[0], point[1] + 11 * pixel), name, colour, fontsize=9)


def _draw_past(axes: "Axes", scene: Scene, colours: Mapping[str, str]) -> None:
    """Draw the trails and bodies of all who are seen now, and the ids of those with a colour."""
    from matplotlib.collections import LineCollection

    here = np.flatnonzero(scene.present)
    shades = [colours.get(scene.ids[a], OTHERS) for a in here]
    pieces, faded = fading(known_lines(scene)[here, : scene.now + 1], shades)
    trails = LineCollection(list(pieces), colors=faded, linewidths=2.4, zorder=4, capstyle="butt")
    axes.add_collection(trails, autolim=False)
    for a, shade in zip(here, shades, strict=True):
        name = scene.ids[a] if scene.ids[a] in colours else ""
        body = Body(axes, scene.kinds[a], shade, name)
        body.put(scene.positions[a, scene.now], scene.headings[a, scene.now])


def _draw_samples(
    axes: "Axes", forecast: Forecast, colours: Mapping[str, str], best: int | None
) -> None:
    from matplotlib.collections import LineCollection

    worlds = from_now(forecast)
    alpha = opacity(len(worlds))
    for n, a in enumerate(forecast.agents):
        colour = colours[forecast.scene.ids[a]]
        thin = LineCollection(
            list(worlds[:, n]), colors=colour, alpha=alpha, linewidths=1.0, zorder=3
        )
        axes.add_collection(thin, autolim=False)
        axes.scatter(
            worlds[:, n, -1, 0], worlds[:, n, -1, 1], s=9, color=colour, linewidths=0, zorder=3.2,
            alpha=min(1.0, 1.6 * alpha),
        )  # fmt: skip
        if best is not None:
            x, y = worlds[best, n].T
            axes.plot(x, y, color=colour, linewidth=2.6, zorder=3.6, solid_capstyle="round")
            axes.scatter(
                x[-1:], y[-1:], s=26, color=colour, edgecolors="white", linewidths=0.8, zorder=3.7
            )


def _draw_truth(axes: "Axes", lines: NDArray[np.float64]) -> None:
    """Draw dashed lines (n, T, 2) as far as they are known."""
    from matplotlib.collections import LineCollection

    dashed = LineCollection(
        list(lines), colors=INK, linewidths=1.3, linestyles=DASHES, alpha=0.85, zorder=3.9
    )
    axes.add_collection(dashed, autolim=False)


def _marks(forecasts: Sequence[Forecast], truth: bool, most_likely: bool) -> list[str]:
    happened = any(np.isfinite(truth_lines(f)[:, 1:]).any() for f in forecasts)
    shown = {
        "history": True,
        "samples": any(len(f.worlds) > 1 for f in forecasts),
        "most likely": most_likely and any(likeliest(f) is not None for f in forecasts),
        "truth": truth and happened,
        "goal": any(f.goals for f in forecasts),
    }
    return [mark for mark, is_there in shown.items() if is_there]


def _target(path: Path | None) -> pathlib.Path | None:
    target = None if path is None else pathlib.Path(path)
    require_writable(target)
    return target


def _written(figure: "Figure", path: pathlib.Path | None) -> "Figure":
    if path is not None:
        with in_one_piece(path) as part:
            save(figure, part)
    return figure
