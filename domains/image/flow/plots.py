"""Pictures of fields: the truth, what was measured, and what methods recover."""

from collections.abc import Mapping
from os import PathLike

import numpy as np
from torch import Tensor

from guided.figures import new_figure

PANEL = 2.1  # inches


def recovered(
    truth: Tensor,
    seen: Tensor,
    ensembles: Mapping[str, Tensor],
    path: str | PathLike[str],
    title: str = "",
) -> None:
    """Draw one row a method: mean, error, spread and two members, all on one scale.

    Args:
        truth: the field (1, size, size).
        seen: the measurement (m, m).
        ensembles: members (J, 1, size, size) by name of the method.
        path: the picture, a PNG.
        title: its headline.
    """
    rows, limit = len(ensembles) + 1, float(truth.abs().max())
    figure = new_figure(rows * PANEL, width=5 * PANEL + 0.6)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    axes = figure.subplots(rows, 5, squeeze=False)
    for panel in axes.flat:
        panel.set_axis_off()

    def show(row: int, column: int, field: Tensor, name: str) -> None:
        axes[row, column].imshow(np.asarray(field), cmap="RdBu_r", vmin=-limit, vmax=limit)
        axes[row, column].set_title(name, fontsize=8)

    show(0, 0, truth[0], "truth (initial field)")
    show(0, 1, seen, "measured (later, coarse, noisy)")
    for row, (name, members) in enumerate(ensembles.items(), start=1):
        mean = members.mean(0)
        show(row, 0, mean[0], f"{name}: mean")
        show(row, 1, (mean - truth)[0], "mean - truth")
        show(row, 2, members.std(0)[0], "spread")
        show(row, 3, members[0, 0], "member 1")
        show(row, 4, members[1, 0], "member 2")
    figure.savefig(path, format="png")
