"""The picture of ``guided-bench tree``: the samples of every method over the trees."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from guided.bench.tree_law import Branches, Tree
from guided.bench.tree_scores import Scored
from guided.figures import FAINT, INK, new_figure
from guided.results import in_one_piece

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#2f6db5", "#2a8a57")  # of the trees
WRONG = "#e0354c"  # outliers
COLUMNS = 4


def draw(two: Sequence[Tree], samples: Mapping[str, Scored], path: Path) -> None:
    """Draw a panel for every method: samples, outliers in red, lost parts in black.

    Args:
        two: the trees.
        samples: of each method.
        path: the picture.

    Raises:
        ValueError: where matplotlib is not installed, or the file cannot be written.
    """
    lines = -(-len(samples) // COLUMNS)
    figure = new_figure(3.0 * lines, width=3.6 * COLUMNS)
    for index, (name, found) in enumerate(samples.items()):
        axes = figure.add_subplot(lines, COLUMNS, index + 1)
        _panel(axes, two, found)
        share, lost = 100 * found.outside.double().mean(), int(found.lost.sum())
        axes.set_title(f"{name}\n{share:.1f} % outliers, {lost} lost", fontsize=9, color=INK)
    with in_one_piece(path) as part:
        figure.savefig(part, format="png")


def _panel(axes: "Axes", two: Sequence[Tree], found: Scored) -> None:
    each = zip(two, found.lost, found.x.chunk(2), found.outside.chunk(2), COLOURS, strict=True)
    for tree, lost, x, outside, colour in each:
        _lines(axes, tree.branches, lost)
        for which, size, own in ((~outside, 1.0, colour), (outside, 1.6, WRONG)):
            axes.scatter(x[which, 0], x[which, 1], s=size, color=own, linewidths=0, zorder=2)
    axes.set_aspect("equal")
    axes.axis("off")


def _lines(axes: "Axes", branches: Branches, lost: Tensor) -> None:
    from matplotlib.collections import LineCollection

    ends = branches.start + branches.length[:, None] * branches.along
    gone = lost[branches.part].tolist()
    lines = LineCollection(
        torch.stack([branches.start, ends], 1).tolist(),
        colors=[INK if one else FAINT for one in gone],
        linewidths=[1.1 if one else 0.7 for one in gone],
        zorder=0,
    )
    axes.add_collection(lines)
