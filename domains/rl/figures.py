"""How every picture looks: size, colours, axes; figures without pyplot's global state."""

from collections.abc import Sequence
from os import PathLike
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

Path = str | PathLike[str]

WIDTH, DPI = 12.0, 100  # inches and dots per inch: 1200 pixels
INK, FRAME, FAINT = "#20262e", "#8a929c", "#e3e6ea"
LINES = ("#2f5f9e", "#c2571a", "#2e7d4f", "#7a4b9a", "#8a6d1b", "#b03060")


def new_figure(height: float, title: str) -> Figure:
    """Return an empty figure of so many inches, with a headline."""
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=13, color=INK)
    return figure


def plain(axes: Axes) -> None:
    """Leave two quiet spines and small ticks."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FRAME)
    axes.tick_params(colors=INK, length=2, labelsize=8)


def save(figure: Figure, path: Path | None) -> Figure:
    """Write a PNG where a path is given, and return the figure."""
    if path is not None:
        figure.savefig(path, format="png")
    return figure


def colours(labels: Sequence[Any]) -> dict[Any, Any]:
    """Return a colour for every label: numbers by their rank, from light to dark."""
    if len(labels) > 1 and all(isinstance(label, int | float) for label in labels):
        rank = np.argsort(np.argsort(labels)) / (len(labels) - 1)
        shades = matplotlib.colormaps["plasma_r"](0.15 + 0.8 * rank)
        return dict(zip(labels, shades, strict=True))
    return {label: LINES[index % len(LINES)] for index, label in enumerate(labels)}
