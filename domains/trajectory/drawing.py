"""What every top-down picture shares: the view, its panels, the map, the scale bar, the legend.

Coordinates are those of the scene, in metres; one metre is as long upwards as sidewards.
matplotlib is imported when something is drawn, not with this module.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from domains.trajectory.road import RoadMap
from guided.figures import DPI, FRAME, INK, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import Collection
    from matplotlib.figure import Figure
    from matplotlib.text import Text

GROUND, ROAD, MARKING, STRIPE, ZEBRA, STOP, WALL = (
    "#f6f6f3", "#e4e6e9", "#ffffff", "#f3f0e4", "#d2cdb8", "#c98a86", "#9aa1aa",
)  # fmt: skip
GRID = "#ebebe6"
AGENTS = (
    "#3b6ea8", "#d0762c", "#4a8f6b", "#8a5a9e", "#b8433f", "#3a9aa5", "#a08a2d", "#c26a94",
    "#6b7f2e", "#7d5a44",
)  # fmt: skip
OTHERS = "#a4abb4"  # who is not predicted

MARGIN = 0.06  # of the larger side, on every side of a view
LEAST = 14.0  # metres across a view, at least
FLATTEST, STEEPEST = 0.48, 0.8  # height of a view over its width
BORDER, HEADER, FOOTER, GAP = 0.12, 0.42, 0.42, 0.14  # inches


class View(NamedTuple):
    """A rectangle of the world, in metres."""

    left: float
    bottom: float
    width: float
    height: float


def view_of(points: NDArray[np.float64], least: float = LEAST) -> View:
    """Return a rectangle around points, with a margin, neither very flat nor steep.

    Args:
        points: (n, 2); those with a NaN are ignored.
        least: metres across, at least.

    Raises:
        ValueError: where no point is known.
    """
    known = points[np.isfinite(points).all(-1)]
    if not len(known):
        raise ValueError("a picture needs at least one known position; nobody is seen now")
    low, high = known.min(0), known.max(0)
    width, height = np.maximum(high - low, 0) + 2 * MARGIN * max((high - low).max(), 1.0)
    width = max(width, least, height / STEEPEST)
    height = max(height, FLATTEST * width)
    left, bottom = (low + high) / 2 - np.array([width, height]) / 2
    return View(float(left), float(bottom), float(width), float(height))


def panels(names: Sequence[str], view: View, inches: float) -> "tuple[Figure, list[Axes]]":
    """Return a figure with one panel for every name, all of the same view, without ticks.

    Args:
        names: headings of the panels.
        view: what each shows.
        inches: width of the figure.
    """
    columns = len(names) if len(names) <= 3 else int(np.ceil(np.sqrt(len(names))))
    rows = -(-len(names) // columns)
    across = (inches - 2 * BORDER - (columns - 1) * GAP) / columns
    up = across * view.height / view.width
    tall = round(DPI * (rows * (up + HEADER) + FOOTER)) / DPI
    figure = new_figure(tall, width=inches)
    figure.set_layout_engine("none")  # the places below are exact
    found = []
    for index, name in enumerate(names):
        row, column = divmod(index, columns)
        left = BORDER + column * (across + GAP)
        bottom = FOOTER + (rows - 1 - row) * (up + HEADER)
        place = (left / inches, bottom / tall, across / inches, up / tall)
        axes = figure.add_axes(place)
        _bare(axes, view)
        axes.set_title(name, loc="left", fontsize=11, color=INK, pad=7)
        found.append(axes)
    return figure, found


def _bare(axes: "Axes", view: View) -> None:
    axes.set_xlim(view.left, view.left + view.width)
    axes.set_ylim(view.bottom, view.bottom + view.height)
    axes.set_autoscale_on(False)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_facecolor(GROUND)
    for spine in axes.spines.values():
        spine.set_color("#d5d8dc")
        spine.set_linewidth(0.8)


def metres_of_a_pixel(axes: "Axes") -> float:
    """Return how many metres of the world one pixel of a panel is wide."""
    low, high = axes.get_xlim()
    return float((high - low) / axes.get_window_extent().width)


def draw_map(axes: "Axes", road: RoadMap | None) -> None:
    """Draw what is driven on, lane bounds, crossings, stop lines and walls.

    Without a map a faint grid shows motion; its lines are as far apart as the scale bar is long.
    """
    from matplotlib.collections import LineCollection, PolyCollection

    if road is None:
        _grid(axes)
        return

    def add(drawn: "Collection") -> None:
        axes.add_collection(drawn, autolim=False)

    # Edges of the same colour close the hairlines between neighbouring lanes.
    add(PolyCollection(road.drivable(), facecolors=ROAD, edgecolors=ROAD, linewidths=1, zorder=0.5))
    add(PolyCollection(road.crossings, facecolors=STRIPE, edgecolors=ZEBRA, hatch="////", zorder=1))
    bounds = [line for lane in road.lanes for line in (lane.left, lane.right)]
    fine = float(np.clip(0.15 / metres_of_a_pixel(axes), 0.5, 1.2))
    lines = ((bounds, MARKING, fine), (road.stops, STOP, 1.8), (road.walls, WALL, 1.8))
    for order, (group, colour, wide) in enumerate(lines):
        add(LineCollection(group, colors=colour, linewidths=wide, zorder=0.8 + 0.3 * order))


def _grid(axes: "Axes") -> None:
    step = round_length(axes)
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    style: dict[str, Any] = {"color": GRID, "linewidth": 1.0, "zorder": 0.5}
    for x in np.arange(np.ceil(left / step) * step, right, step):
        axes.axvline(x, **style)
    for y in np.arange(np.ceil(bottom / step) * step, top, step):
        axes.axhline(y, **style)


def round_length(axes: "Axes") -> float:
    """Return the largest of 1, 2, 5, 10, 20, ... metres that is at most a sixth of a panel."""
    low, high = axes.get_xlim()
    lengths = [digit * 10.0**power for power in range(-1, 6) for digit in (1, 2, 5)]
    return max(length for length in lengths if length <= (high - low) / 6)


def scale_bar(axes: "Axes") -> None:
    """Draw a bar of a round number of metres in the lower right corner."""
    length, pixel = round_length(axes), metres_of_a_pixel(axes)
    right, bottom = axes.get_xlim()[1] - 14 * pixel, axes.get_ylim()[0] + 14 * pixel
    ends = ([right - length, right], [bottom, bottom])
    axes.plot(*ends, color=INK, linewidth=2, solid_capstyle="butt", zorder=9)
    label(axes, (right - length / 2, bottom + 5 * pixel), f"{length:g} m", INK)


def label(
    axes: "Axes", at: tuple[float, float], text: str, colour: str, halo: bool = True, **style: Any
) -> "Text":
    """Write a small text above a point, on a pale halo if wanted; return its artist."""
    from matplotlib.patheffects import withStroke

    if halo:
        style["path_effects"] = [withStroke(linewidth=2.2, foreground="#fbfbf9", alpha=0.9)]
    return axes.text(
        *at, text, color=colour, zorder=9, clip_on=True,
        **{"fontsize": 8, "ha": "center", "va": "bottom", **style},
    )  # fmt: skip


def colours_of(ids: Sequence[str]) -> dict[str, str]:
    """Return a colour for every id, by its place; after ten they return."""
    unique = dict.fromkeys(ids)
    return {id: AGENTS[index % len(AGENTS)] for index, id in enumerate(unique)}


MARKS: dict[str, dict[str, Any]] = {
    "history": {"color": INK, "linewidth": 2.2, "alpha": 0.55},
    "future": {"color": INK, "linewidth": 1.3, "linestyle": (0, (3, 2))},
    "truth": {"color": INK, "linewidth": 1.3, "linestyle": (0, (3, 2))},
    "samples": {"color": AGENTS[0], "linewidth": 1.0, "alpha": 0.5},
    "most likely": {"color": AGENTS[0], "linewidth": 2.6},
    "other worlds": {"color": AGENTS[0], "linewidth": 1.0, "alpha": 0.5},
    "goal": {
        "color": FRAME, "linewidth": 0, "marker": "*", "markersize": 11, "markeredgecolor": "white",
    },
}  # fmt: skip


def legend(figure: "Figure", marks: Sequence[str]) -> None:
    """Explain some of :data:`MARKS` in one line below the panels."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], label=mark, **MARKS[mark]) for mark in marks]
    where = BORDER / figure.get_figwidth(), FOOTER / 2 / figure.get_figheight()
    figure.legend(
        handles=handles, loc="center left", bbox_to_anchor=where, ncols=max(len(handles), 1),
        frameon=False, fontsize=9, handlelength=2.2, columnspacing=1.8, borderpad=0,
        borderaxespad=0, labelcolor=INK,
    )  # fmt: skip
