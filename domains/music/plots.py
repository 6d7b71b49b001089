"""Pictures: piano rolls with what the rules asked for and found, and error against effort.

Conventions:
    Every function returns a Figure and writes a PNG, 1200 pixels wide, where a path is given. None
    touches pyplot's global state. The time axis is in columns of the roll, labelled in bars (in
    seconds on a fixed-rate grid). Labels and curves divide a roll into equal windows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from domains.music.roll import LOWEST, MAX_VELOCITY, PITCHES, Roll
from guided.figures import FAINT, FRAME, INK, Path, new_figure, plain, save

ROLL_HEIGHT, PANEL_HEIGHT, STRIP_HEIGHT, CURVE_HEIGHT = 4.2, 2.4, 0.42, 0.85  # inches
LEAST_PITCHES = 24  # a lonely note is not stretched over the whole picture
MANY_WINDOWS = 16  # more than these are lettered small
MANY_BARS = 32  # more than these are not all numbered, and go without beat lines
NAMED = {0: "C", 4: "E", 7: "G"}  # pitch classes on the axis, as space allows
BLACK_KEYS = (1, 3, 6, 8, 10)

SHADE, ASKED, RIGHT, WRONG, FREE = "#f4f5f7", "#b9bfc7", "#d3eeda", "#f8d2cf", "#eceff2"
LINES = ("#2f5f9e", "#c2571a", "#2e7d4f", "#7a4b9a", "#8a6d1b", "#b03060")
VELOCITY = LinearSegmentedColormap.from_list("velocity", ["#c3d7f0", "#4f8bd0", "#0d2a52"])


@dataclass(frozen=True)
class Labels:
    """Names a window, such as chords, drawn as a strip above the roll.

    Args:
        name: what they are.
        found: one text a window.
        asked: one text a window, None where it is free; None asks for nothing.

    Raises:
        ValueError: if the lengths differ.
    """

    name: str
    found: Sequence[str]
    asked: Sequence[str | None] | None = None

    def __post_init__(self) -> None:
        """Check the lengths."""
        _same_length(self.name, self.found, self.asked)


@dataclass(frozen=True)
class Curve:
    """A number a window, such as note density, drawn as steps below the roll.

    Args:
        name: what it is, with its unit.
        found: one number a window.
        asked: one number a window, NaN where it is free; None asks for nothing.

    Raises:
        ValueError: if the lengths differ.
    """

    name: str
    found: Sequence[float]
    asked: Sequence[float] | None = None

    def __post_init__(self) -> None:
        """Check the lengths."""
        _same_length(self.name, self.found, self.asked)


@dataclass(frozen=True)
class Panel:
    """One roll of a comparison, with what belongs to it."""

    roll: Roll
    title: str = ""
    labels: Sequence[Labels] = ()
    curves: Sequence[Curve] = ()


def piano_roll(
    roll: Roll,
    path: Path | None = None,
    title: str = "",
    labels: Sequence[Labels] = (),
    curves: Sequence[Curve] = (),
) -> Figure:
    """Draw one roll.

    Args:
        roll: what to draw.
        path: PNG to write; None writes none.
        title: headline, such as the key.
        labels: strips above the roll; a window is green where it is as asked, red where not.
        curves: steps below the roll, over the thick grey steps of what was asked.
    """
    return _draw([Panel(roll, title, labels, curves)], ROLL_HEIGHT, path)


def compare(panels: Sequence[Panel], path: Path | None = None, title: str = "") -> Figure:
    """Draw rolls below one another on common axes.

    Raises:
        ValueError: for no panels.
    """
    if not panels:
        raise ValueError("compare got no panels; give at least one roll")
    return _draw(panels, PANEL_HEIGHT, path, title)


def error_curves(
    curves: Mapping[str, Sequence[tuple[float, float, float]]],
    path: Path | None = None,
    title: str = "",
    effort: str = "candidates",
    error: str = "error",
) -> Figure:
    """Draw error against effort, a panel a rule, with bars of one standard error.

    Args:
        curves: for every rule its points (n, mean, standard error), n > 0, drawn on a log axis.
        path: PNG to write; None writes none.
        title: headline.
        effort: name of n.
        error: name of the mean.

    Raises:
        ValueError: for no curves, a curve without points, or n that is not positive.
    """
    if not curves or not all(len(points) for points in curves.values()):
        raise ValueError("error_curves got no points; give each rule at least one (n, mean, se)")
    if min(point[0] for points in curves.values() for point in points) <= 0:
        raise ValueError("error_curves got n <= 0; its axis is logarithmic, give n > 0")
    per_row = min(len(curves), 3)
    rows = -(-len(curves) // per_row)
    figure = new_figure(3.4 * rows + 0.5, title)
    grid = figure.subplots(rows, per_row, squeeze=False).ravel()
    for axes, (rule, points), colour in zip(
        grid, curves.items(), LINES * len(curves), strict=False
    ):
        n, mean, spread = np.array(sorted(points), dtype=float).T
        axes.errorbar(
            n, mean, spread, color=colour, marker="o", markersize=5, linewidth=1.8, capsize=3
        )
        axes.set_xscale("log", base=2)
        axes.set_xticks(n, [f"{x:g}" for x in n])
        axes.minorticks_off()
        axes.set_ylim(0, 1.12 * max(float((mean + spread).max()), 1e-9))
        axes.set_title(rule, loc="left", fontsize=11, color=INK)
        axes.set_xlabel(effort, fontsize=9)
        axes.set_ylabel(error, fontsize=9)
        axes.grid(axis="y", color=FAINT)
        plain(axes)
    for axes in grid[len(curves) :]:
        axes.remove()
    return save(figure, path)


def _draw(
    panels: Sequence[Panel], roll_height: float, path: Path | None, title: str = ""
) -> Figure:
    heights = [
        height
        for panel in panels
        for height in (
            *[STRIP_HEIGHT] * len(panel.labels),
            roll_height,
            *[CURVE_HEIGHT] * len(panel.curves),
        )
    ]
    figure = new_figure(sum(heights) + 0.3 * len(panels) + 0.6, title)
    columns = max(panel.roll.columns for panel in panels)
    span = _pitch_span([panel.roll for panel in panels])
    rest = list(figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights).ravel())
    for panel in panels:
        axes, rest = rest[: (n := len(panel.labels) + 1 + len(panel.curves))], rest[n:]
        axes[0].set_title(panel.title, loc="left", fontsize=11, color=INK)
        for strip, labels in zip(axes, panel.labels, strict=False):
            _strip(strip, labels, panel.roll.columns)
        _notes(axes[len(panel.labels)], panel.roll, span, roll_height == ROLL_HEIGHT)
        for steps, curve in zip(axes[len(panel.labels) + 1 :], panel.curves, strict=True):
            _steps(steps, curve, panel.roll)
        for ax in axes:
            ax.set_xlim(0, columns)
            ax.set_xticks([])
        _number_bars(axes[-1], panel.roll)
    return save(figure, path)


def _notes(axes: Axes, roll: Roll, span: tuple[int, int], spacious: bool) -> None:
    low, high = span
    for pitch in range(low, high):
        if pitch % 12 in BLACK_KEYS:
            axes.axhspan(pitch - 0.5, pitch + 0.5, color=SHADE, zorder=0, linewidth=0)
    for pitch in range(low + -low % 12, high, 12):
        axes.axhline(pitch - 0.5, color=FAINT, linewidth=0.9, zorder=0.5)
    _bar_lines(axes, roll, beats=True)
    notes = roll.notes()
    left, right, below, above = (
        notes.start + 0.06, notes.end - 0.06, notes.pitch - 0.42, notes.pitch + 0.42
    )  # fmt: skip
    corners = np.stack([left, below, right, below, right, above, left, above], -1)
    axes.add_collection(
        PolyCollection(
            list(corners.reshape(-1, 4, 2)),
            facecolors=VELOCITY(notes.velocity / MAX_VELOCITY),
            edgecolors="none",
            zorder=2,
        )
    )
    named = NAMED if spacious else {0: "C"}
    ticks = [pitch for pitch in range(low, high) if pitch % 12 in named]
    axes.set_yticks(ticks, [f"{named[pitch % 12]}{pitch // 12 - 1}" for pitch in ticks])
    axes.set_ylim(low - 0.5, high - 0.5)
    plain(axes)


def _strip(axes: Axes, labels: Labels, columns: int) -> None:
    count = len(labels.found)
    edges = np.linspace(0, columns, count + 1)
    asked = labels.asked or [None] * count
    many = count > MANY_WINDOWS
    size = 8 if many else 11
    for left, right, found, wanted in zip(edges, edges[1:], labels.found, asked, strict=False):
        wrong = wanted is not None and wanted != found
        colour = WRONG if wrong else FREE if wanted is None else RIGHT
        axes.axvspan(left, right, facecolor=colour, edgecolor="white", linewidth=2)
        texts = [(0.5, found, size, INK)]
        if wrong:
            note = f"≠{wanted}" if many else f"asked {wanted}"
            texts = [(0.7, found, size, INK), (0.24, note, 8, "#a3231b")]
        for height, text, points, ink in texts:
            axes.text(
                (left + right) / 2, height, text, size=points, color=ink, ha="center", va="center"
            )
    axes.set_ylim(0, 1)
    axes.set_yticks([0.5], [labels.name], fontsize=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _steps(axes: Axes, curve: Curve, roll: Roll) -> None:
    edges = np.linspace(0, roll.columns, len(curve.found) + 1)
    _bar_lines(axes, roll)
    if curve.asked is not None:
        axes.stairs(curve.asked, edges, color=ASKED, linewidth=6, baseline=None, label="asked")
    axes.stairs(curve.found, edges, color=LINES[0], linewidth=1.8, baseline=None, label="found")
    known = np.array([*curve.found, *(curve.asked or ())], dtype=float)
    axes.set_ylim(0, 1.25 * max(float(np.nanmax(known, initial=0)), 1e-9))
    axes.locator_params(axis="y", nbins=3)
    axes.set_ylabel(curve.name, fontsize=8, rotation=0, ha="right", va="center")
    if curve.asked is not None:
        axes.legend(loc="lower right", bbox_to_anchor=(1, 0.94), fontsize=7, ncols=2, frameon=False)
    plain(axes)


def _bar_lines(axes: Axes, roll: Roll, beats: bool = False) -> None:
    step = roll.grid.columns_per_bar
    if beats and roll.grid.fs is None and roll.columns <= MANY_BARS * step:
        for column in range(0, roll.columns, roll.grid.columns_per_beat):
            axes.axvline(column, color=FAINT, linewidth=0.6, zorder=1)
    for column in range(0, roll.columns + 1, step):
        axes.axvline(column, color=FRAME, linewidth=0.8, zorder=1, alpha=0.7)


def _number_bars(axes: Axes, roll: Roll) -> None:
    step = roll.grid.columns_per_bar
    bars = -(-roll.columns // step)
    every = -(-bars // MANY_BARS)
    starts = range(0, roll.columns, step * every)
    if roll.grid.fs is None:
        names = [f"{column // step + 1}" for column in starts]
        names[:1] = ["bar 1"]
    else:
        names = [f"{column / roll.grid.fs:g} s" for column in starts]
    axes.set_xticks(list(starts), names, ha="left")


def _pitch_span(rolls: Sequence[Roll]) -> tuple[int, int]:
    """Return the first pitch to draw and the one after the last: what sounds, and some air."""
    used = np.flatnonzero(np.any([roll.velocity.any(axis=0) for roll in rolls], axis=0)) + LOWEST
    low, high = (int(used[0]) - 2, int(used[-1]) + 3) if len(used) else (48, 48 + LEAST_PITCHES)
    lacking = max(0, LEAST_PITCHES - (high - low))
    low, high = low - lacking // 2, high + (lacking + 1) // 2
    return max(low, LOWEST), min(high, LOWEST + PITCHES)


def _same_length(name: str, found: Sequence[object], asked: Sequence[object] | None) -> None:
    if len(found) == 0 or (asked is not None and len(asked) != len(found)):
        raise ValueError(
            f"{name!r} got {len(found)} windows found and "
            f"{'none' if asked is None else len(asked)} asked for; give as many of both"
        )
