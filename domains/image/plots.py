"""Plots of a sweep: a panel for every method, and all of them against each other."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guided.figures import FAINT, INK, new_figure, plain, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = Mapping[str, Any]
COLUMNS = 5
DISTANCE, ACCURACY, RECALL = "#1f5fa8", "#2a8f4e", "#c2701c"


def sweep_figure(rows: Sequence[Row], floor: Row, path: Path | None = None) -> "Figure":
    """Draw distance, accuracy and recall against the scale, one panel a method.

    Args:
        rows: means over seeds, as :func:`domains.image.sweep.means` returns.
        floor: the figures of training data.
        path: of a PNG; None writes nothing.
    """
    methods = list(dict.fromkeys(row["method"] for row in rows))
    lines = math.ceil(len(methods) / COLUMNS)
    title = "Scale against quality: Fréchet distance, accuracy by the judge, recall"
    figure = new_figure(2.4 * lines, title)
    top = 1.15 * max(row["distance"] for row in rows)
    low = 0.8 * min(*(row["distance"] for row in rows), floor["distance"])
    for index, method in enumerate(methods):
        axes = figure.add_subplot(lines, COLUMNS, index + 1)
        _panel(axes, method, [row for row in rows if row["method"] == method], floor, (low, top))
    _legend(figure)
    return save(figure, path)


def tradeoff_figure(rows: Sequence[Row], floor: Row, path: Path | None = None) -> "Figure":
    """Draw distance against accuracy, a line for every method; the largest scale has the dot."""
    figure = new_figure(6.0, "Each line is a method, each point a scale")
    axes = figure.add_subplot()
    methods = list(dict.fromkeys(row["method"] for row in rows))
    for index, method in enumerate(methods):
        own = [row for row in rows if row["method"] == method]
        line = axes.plot(
            [row["accuracy"] for row in own],
            [row["distance"] for row in own],
            color=f"C{index % 10}",
            linestyle=("-", "--", ":")[index // 10 % 3],
            linewidth=1.2,
            label=method,
        )[0]
        axes.plot(own[-1]["accuracy"], own[-1]["distance"], "o", color=line.get_color())
    axes.axhline(floor["distance"], color=INK, linewidth=0.8, linestyle=(0, (1, 3)))
    _logarithmic(axes)
    axes.set_xlabel("accuracy by the judge", fontsize=9)
    axes.set_ylabel("Fréchet distance (dots: training data)", fontsize=9)
    axes.legend(fontsize=8, frameon=False, ncols=2)
    plain(axes)
    return save(figure, path)


def _panel(
    axes: "Axes", method: str, rows: Sequence[Row], floor: Row, limits: tuple[float, float]
) -> None:
    scales = [row["scale"][0] for row in rows]
    spread = [row["distance_std"] for row in rows]
    distances = [row["distance"] for row in rows]
    axes.axhline(floor["distance"], color=FAINT, linewidth=1.5)
    axes.errorbar(scales, distances, spread, color=DISTANCE, marker="o", markersize=3)
    _logarithmic(axes)
    axes.set_ylim(*limits)
    axes.set_title(method, fontsize=9, loc="left", color=INK)
    axes.tick_params(axis="y", labelcolor=DISTANCE)
    plain(axes)
    shares = axes.twinx()
    shares.plot(scales, [row["accuracy"] for row in rows], color=ACCURACY, linewidth=1.2)
    shares.plot(scales, [row["recall"] for row in rows], color=RECALL, linewidth=1.2, ls="--")
    shares.set_ylim(0, 1.02)
    shares.tick_params(labelsize=7)
    shares.spines[["top"]].set_visible(False)


def _legend(figure: "Figure") -> None:
    from matplotlib.lines import Line2D

    lines = (("distance", DISTANCE, "-"), ("accuracy", ACCURACY, "-"), ("recall", RECALL, "--"))
    handles = [Line2D([], [], color=colour, ls=style, label=text) for text, colour, style in lines]
    figure.legend(handles=handles, loc="outside upper right", ncols=3, fontsize=8, frameon=False)


def _logarithmic(axes: "Axes") -> None:
    """Make y logarithmic, with numbers that are read at a glance."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
