"""Grids of small pictures: the truth, what was measured, and what was recovered."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from guided.figures import INK, new_figure
from guided.results import in_one_piece

PANEL = 1.05  # inches
UNSEEN = (0.62, 0.74, 0.90)  # of pixels that were not measured


def draw_grid(
    rows: Sequence[Sequence[Tensor | None]],
    columns: Sequence[str],
    names: Sequence[str],
    path: Path,
    title: str = "",
) -> None:
    """Write a grid of pictures as PNG.

    Args:
        rows: of pictures (C, h, w) in [-1, 1], black to white; NaN is light blue, None is empty.
        columns: headings, as many as pictures in a row.
        names: one a row.
        path: the file.
        title: above all.

    Raises:
        ValueError: where matplotlib is missing or the file cannot be written.
    """
    figure = new_figure(PANEL * len(rows) + 0.5, title, width=PANEL * len(columns) + 1.4)
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            panel = axes[row, column]
            panel.set_xticks([])
            panel.set_yticks([])
            panel.spines[:].set_visible(False)
            if picture is not None:
                panel.imshow(shown(picture), interpolation="nearest")
            if row == 0:
                panel.set_title(columns[column], fontsize=8, color=INK)
        axes[row, 0].set_ylabel(names[row], fontsize=8, color=INK, rotation=0, ha="right")
    with in_one_piece(path) as part:
        figure.savefig(part, format="png")


def shown(picture: Tensor) -> np.ndarray:
    """Return the colours (h, w, 3) in [0, 1] of a picture (C, h, w), of which 3 channels are RGB.

    Of any other number of channels the first is shown, in grey.
    """
    levels = np.asarray(picture.detach().double())
    levels = levels if len(levels) == 3 else levels[:1].repeat(3, axis=0)
    levels = np.clip((levels.transpose(1, 2, 0) + 1) / 2, 0, 1)
    return np.where(np.isnan(levels).any(2, keepdims=True), UNSEEN, levels)
