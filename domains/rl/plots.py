"""Pictures: learning curves, calibration of critics, return against scale.

Conventions:
    Every function returns a Figure and writes a PNG, 1200 pixels wide, where a path is given. None
    touches pyplot's global state. Intervals are those of ``statistics``.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from domains.rl.colours import LINES, colours
from domains.rl.statistics import Interval
from guided.figures import FAINT, FRAME, INK, WIDTH, Path, new_figure, plain, save

POINTS = 5000  # of a scatter plot at most
BINS = 12  # of a calibration


def learning_curves(
    curves: Mapping[str, Sequence[tuple[float, Interval]]],
    path: Path | None = None,
    title: str = "",
    effort: str = "training steps",
    score: str = "return",
) -> Figure:
    """Draw scores over training, with their intervals as bands.

    Args:
        curves: for every method its points (step, interval).
        path: PNG to write; None writes none.
        title: headline.
        effort: name of the step.
        score: name of the number.

    Raises:
        ValueError: for a curve without points.
    """

    def draw(axes: Axes, label: str, colour: str, points: np.ndarray) -> None:
        steps, value, low, high = points
        axes.fill_between(steps, low, high, color=colour, alpha=0.18, linewidth=0)
        axes.plot(steps, value, color=colour, linewidth=1.8, marker="o", markersize=4, label=label)

    return _curves(curves, draw, (effort, score), title, path)


def against_scale(
    curves: Mapping[str, Sequence[tuple[float, Interval]]],
    path: Path | None = None,
    title: str = "",
    scale: str = "guidance scale",
    score: str = "return",
) -> Figure:
    """Draw a score against the guidance scale, with bars from low to high.

    Args:
        curves: for every method its points (scale, interval).
        path: PNG to write; None writes none.
        title: headline.
        scale: name of the scale.
        score: name of the number.

    Raises:
        ValueError: for a curve without points.
    """

    def draw(axes: Axes, label: str, colour: str, points: np.ndarray) -> None:
        scales, value, low, high = points
        axes.errorbar(
            scales, value, np.maximum([value - low, high - value], 0), color=colour, marker="o",
            markersize=5, linewidth=1.8, capsize=3, label=label,
        )  # fmt: skip

    return _curves(curves, draw, (scale, score), title, path)


def calibration(
    predicted: Mapping[str, tuple[ArrayLike, ArrayLike]],
    path: Path | None = None,
    title: str = "",
    bins: int = BINS,
) -> Figure:
    """Draw what was earned against the Q that was predicted, a panel a critic.

    Points are steps, at most 5000, evenly picked. Bins hold equally many steps; their bars are the
    middle half of what was earned. On the grey line a critic is right, below it hopes too much.

    Args:
        predicted: for every critic Q (n,) and the discounted return from the same step on, (n,).
        path: PNG to write; None writes none.
        title: headline.
        bins: how many.

    Raises:
        ValueError: for fewer steps than bins, or not as many of both.
    """
    for name, (q, earned) in predicted.items():
        if np.shape(q) != np.shape(earned) or np.size(q) < bins or np.ndim(q) != 1:
            raise ValueError(
                f"calibration got Q of shape {np.shape(q)} and returns of {np.shape(earned)} of"
                f" {name!r}; give as many of both, and at least {bins}"
            )
    if not predicted:
        raise ValueError("calibration got no critics; give at least one")
    columns = min(len(predicted), 3)
    rows = -(-len(predicted) // columns)
    figure = new_figure(min(WIDTH / columns, 6.5) * rows + 0.5, title)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (name, (q, earned)) in zip(grid, predicted.items(), strict=False):
        _calibrate(axes, np.asarray(q, dtype=float), np.asarray(earned, dtype=float), bins)
        axes.set_title(name, loc="left", fontsize=11, color=INK)
    for axes in grid[len(predicted) :]:
        axes.remove()
    return save(figure, path)


def _calibrate(axes: Axes, q: np.ndarray, earned: np.ndarray, bins: int) -> None:
    some = np.linspace(0, len(q) - 1, min(POINTS, len(q))).astype(int)
    axes.scatter(q[some], earned[some], s=5, color=LINES[0], alpha=0.18, linewidths=0)
    parts = np.array_split(np.argsort(q, kind="stable"), bins)
    centre = np.array([q[part].mean() for part in parts])
    value = np.array([earned[part].mean() for part in parts])
    quarters = np.array([np.quantile(earned[part], [0.25, 0.75]) for part in parts]).T
    axes.vlines(centre, *quarters, color=LINES[1], linewidth=4, alpha=0.35)
    axes.plot(centre, value, color=LINES[1], marker="o", markersize=5, linewidth=1.6, label="mean")
    ends = [min(q.min(), earned.min()), max(q.max(), earned.max())]
    axes.plot(ends, ends, color=FRAME, linewidth=1.2, zorder=1, label="as predicted")
    axes.set_xlabel("predicted Q", fontsize=9)
    axes.set_ylabel("discounted return", fontsize=9)
    axes.grid(color=FAINT)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=9, loc="upper left")
    plain(axes)


def _curves(
    curves: Mapping[str, Sequence[tuple[float, Interval]]],
    draw: Callable[[Axes, str, str, np.ndarray], None],
    labels: tuple[str, str],
    title: str,
    path: Path | None,
) -> Figure:
    """Draw each curve, whose rows x, value, low, high are in the order of x."""
    if not curves or not all(len(points) for points in curves.values()):
        x, y = labels
        raise ValueError(f"a plot of {y} against {x} got no points; give each curve at least one")
    figure = new_figure(5.5, title)
    axes = figure.subplots()
    for (label, colour), points in zip(colours(list(curves)).items(), curves.values(), strict=True):
        rows = sorted((x, found.value, found.low, found.high) for x, found in points)
        draw(axes, label, colour, np.array(rows, dtype=float).T)
    axes.set_xlabel(labels[0], fontsize=9)
    axes.set_ylabel(labels[1], fontsize=9)
    axes.grid(axis="y", color=FAINT)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=9)
    plain(axes)
    return save(figure, path)
