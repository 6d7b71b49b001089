"""How every picture looks: size, colours, axes; figures without pyplot's global state.

matplotlib is imported when a figure is made, not with this module.
"""

from os import PathLike
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Path = str | PathLike[str]

WIDTH, DPI = 12.0, 100  # inches and dots per inch: 1200 pixels
INK, FRAME, FAINT = "#20262e", "#8a929c", "#e3e6ea"


def new_figure(height: float, title: str = "", width: float = WIDTH) -> "Figure":
    """Return an empty figure of so many inches, with a headline.

    Raises:
        ValueError: where matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ValueError("a plot needs matplotlib; pip install matplotlib") from None
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=13, color=INK)
    return figure


def plain(axes: "Axes") -> None:
    """Leave two quiet spines and small ticks."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FRAME)
    axes.tick_params(colors=INK, length=2, labelsize=8)


def save(figure: "Figure", path: Path | None) -> "Figure":
    """Write a PNG where a path is given, and return the figure."""
    if path is not None:
        figure.savefig(path, format="png")
    return figure
