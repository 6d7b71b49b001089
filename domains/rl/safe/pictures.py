"""The point robot's picture: the learned feasible set on the exact one, and ways from both."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle

from domains.rl.colours import LINES
from domains.rl.policy import DiffusionPolicy
from domains.rl.safe.against_truth import POINTS, SLICES, compare_sets, learned_value, slice_states
from domains.rl.safe.drive import Drives
from domains.rl.safe.point_robot import GOAL, GOAL_RADIUS, HALF_WIDTH, HAZARD_RADIUS, HAZARDS
from domains.rl.safe.reachable import FeasibleValue
from guided.figures import FRAME, INK, Path, new_figure, save

WAYS = 40  # robots drawn in a panel
EXACT, LEARNED = INK, LINES[1]
SAFE, HURT = LINES[2], LINES[1]


def sets_and_ways(
    policy: DiffusionPolicy,
    truth: FeasibleValue,
    ways: Mapping[str, Drives],
    path: Path | None = None,
    title: str = "",
) -> Figure:
    """Draw the three slices, and under them where robots went.

    Args:
        policy: with a learned feasible value.
        truth: the exact one.
        ways: what robots did, by the kind of their starts.
        path: PNG to write; None writes none.
        title: headline.
    """
    figure = new_figure(8.6, title)
    parts: Any = figure.subfigures(2, 1)
    upper, lower = parts
    row = upper.subplots(1, len(SLICES))
    for axes, (v, theta) in zip(row, SLICES, strict=True):
        shade = _slice(axes, policy, truth, v, theta)
    upper.colorbar(shade, ax=row, label="learned value V_h", shrink=0.8)
    keys = [Line2D([], [], color=EXACT, ls="--"), Line2D([], [], color=LEARNED)]
    row[0].legend(keys, ["exact", "learned"], loc="lower left", fontsize=8, framealpha=0.9)
    panels = np.atleast_1d(lower.subplots(1, max(len(ways), 3)))
    for axes, (name, drives) in zip(panels, ways.items(), strict=False):
        _ways(axes, name, drives)
    for axes in panels[len(ways) :]:
        axes.remove()
    return save(figure, path)


def _slice(
    axes: Axes, policy: DiffusionPolicy, truth: FeasibleValue, v: float, theta: float
) -> Any:
    states = slice_states(v, theta)
    exact = truth.value(states.reshape(-1, 4)).reshape(POINTS, POINTS)
    learned = learned_value(policy, states)
    axis = np.linspace(-HALF_WIDTH, HALF_WIDTH, POINTS)
    most = float(max(exact.max(), 1e-3))
    norm = TwoSlopeNorm(0.0, vmin=-0.5, vmax=most)
    shade = axes.pcolormesh(
        axis, axis, learned.T, norm=norm, cmap="RdBu_r", rasterized=True, alpha=0.8
    )
    axes.contour(axis, axis, exact.T, [0.0], colors=EXACT, linestyles="--", linewidths=1.4)
    axes.contour(axis, axis, learned.T, [0.0], colors=LEARNED, linewidths=1.6)
    _room(axes)
    found = compare_sets(learned > 0, exact > 0)
    axes.annotate(
        "", (2.4 + 0.5 * np.cos(theta), -2.6 + 0.5 * np.sin(theta)), (2.4, -2.6),
        arrowprops={"arrowstyle": "->", "color": INK},
    )  # fmt: skip
    axes.set_title(
        f"{v:g} m/s, heading {np.degrees(theta):g}°: IoU {found['iou']:.3f}, "
        f"false safe {found['false_safe']:.1%}",
        loc="left", fontsize=9, color=INK,
    )  # fmt: skip
    return shade


def _ways(axes: Axes, name: str, drives: Drives) -> None:
    shown = range(min(WAYS, len(drives.steps)))
    hurt = drives.worst > 0
    lines = [drives.states[: drives.steps[i] + 1, i, :2] for i in shown]
    colours = [HURT if hurt[i] else SAFE for i in shown]
    axes.add_collection(LineCollection(lines, colors=colours, linewidths=1.1, alpha=0.8))
    starts = np.array([line[0] for line in lines])
    axes.scatter(
        starts[:, 0], starts[:, 1], s=14, facecolor="white", edgecolor=INK, linewidth=0.8, zorder=3
    )
    _room(axes)
    axes.set_title(
        f"{name}: {int(hurt.sum())} of {len(hurt)} enter a hazard, "
        f"{int(drives.arrived.sum())} arrive",
        loc="left", fontsize=9, color=INK,
    )  # fmt: skip


def _room(axes: Axes) -> None:
    for centre in HAZARDS:
        axes.add_patch(Circle(tuple(centre), HAZARD_RADIUS, fill=False, color=FRAME, linewidth=1))
    axes.add_patch(Circle(tuple(GOAL), GOAL_RADIUS, color=LINES[0], alpha=0.5, linewidth=0))
    axes.set(xlim=(-HALF_WIDTH, HALF_WIDTH), ylim=(-HALF_WIDTH, HALF_WIDTH), aspect="equal")
    axes.set_xticks([-3, 0, 3])
    axes.set_yticks([-3, 0, 3])
    axes.tick_params(labelsize=8, length=2)
    axes.spines[:].set_color(FRAME)
