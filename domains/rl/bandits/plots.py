"""Pictures of bandits: samples of every method beside the truth, coloured by reward."""

from collections.abc import Sequence
from os import PathLike
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from scipy.spatial import cKDTree
from torch import Tensor

from domains.rl.bandits.sets import Logged

PANEL = 1.55  # inches
LIMIT = 4.6  # the panels show [-LIMIT, LIMIT] on both axes
COLOURS = "viridis"
LEFT, RIGHT, TOP, TITLE = 0.3, 0.7, 0.35, 0.25  # inches around the panels
GAP = 0.04  # between panels, in panels
DOT = 1.2  # area of a sample, in points
ASTRAY, FAR = "#e4572e", 0.4  # colour of samples farther than that from every logged action


class Panel(NamedTuple):
    """One scatter.

    Args:
        x: samples (N, 2).
        logged: logged actions, the nearest of which gives a sample its reward.
        note: printed in the corner, e.g. a figure.
    """

    x: Tensor
    logged: Logged
    note: str = ""


def draw(
    panels: Sequence[Sequence[Panel]],
    rows: Sequence[str],
    columns: Sequence[str],
    path: str | PathLike[str],
    title: str = "",
) -> None:
    """Draw a grid of scatters to a PNG, with names of its rows and columns."""
    across, down = len(columns) * PANEL, len(rows) * PANEL
    width, height = LEFT + across + RIGHT, down + TOP + (TITLE if title else 0.0)
    figure = Figure(figsize=(width, height), dpi=100)
    FigureCanvasAgg(figure)
    if title:
        figure.text(0.1 / width, 1 - 0.1 / height, title, ha="left", va="top", fontsize=11)
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    figure.subplots_adjust(
        left=LEFT / width,
        right=(LEFT + across) / width,
        bottom=0.05 / height,
        top=(0.05 + down) / height,
        wspace=GAP,
        hspace=GAP,
    )
    for i, row in enumerate(panels):
        for j, panel in enumerate(row):
            _scatter(axes[i, j], panel)
    for axis, name in zip(axes[0], columns, strict=True):
        axis.set_title(name, fontsize=10)
    for axis, name in zip(axes[:, 0], rows, strict=True):
        axis.set_ylabel(name, fontsize=10)
    colours = ScalarMappable(Normalize(0, 1), COLOURS)
    place = ((LEFT + across + 0.12) / width, 0.05 / height, 0.1 / width, down / height)
    bar = figure.colorbar(colours, cax=figure.add_axes(place))
    bar.set_label(f"reward of the nearest logged action (red: none within {FAR:g})", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    figure.savefig(path, format="png", pil_kwargs={"optimize": True})


def _scatter(axis: Axes, panel: Panel) -> None:
    x = np.asarray(panel.x)
    x = x[np.isfinite(x).all(1)]
    gap, nearest = cKDTree(np.asarray(panel.logged.x)).query(x)
    astray = gap > FAR
    reward = np.asarray(panel.logged.reward)[nearest]
    (u, v), seen = x.T, ~astray
    axis.scatter(u[astray], v[astray], DOT, c=ASTRAY, linewidths=0)
    colours: dict[str, Any] = {"cmap": COLOURS, "vmin": 0, "vmax": 1, "linewidths": 0}
    axis.scatter(u[seen], v[seen], DOT, c=reward[seen], **colours)
    axis.set(xlim=(-LIMIT, LIMIT), ylim=(-LIMIT, LIMIT), xticks=[], yticks=[], aspect="equal")
    for spine in axis.spines.values():
        spine.set_color("0.8")
    axis.text(0.97, 0.03, panel.note, transform=axis.transAxes, ha="right", va="bottom", fontsize=7)
