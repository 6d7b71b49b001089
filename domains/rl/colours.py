"""The colours of lines: distinct for names, from light to dark for numbers."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np

LINES = ("#2f5f9e", "#c2571a", "#2e7d4f", "#7a4b9a", "#8a6d1b", "#b03060")


def colours(labels: Sequence[Any]) -> dict[Any, Any]:
    """Return a colour for every label: numbers by their rank, from light to dark."""
    if len(labels) > 1 and all(isinstance(label, int | float) for label in labels):
        rank = np.argsort(np.argsort(labels)) / (len(labels) - 1)
        shades = matplotlib.colormaps["plasma_r"](0.15 + 0.8 * rank)
        return dict(zip(labels, shades, strict=True))
    return {label: LINES[index % len(LINES)] for index, label in enumerate(labels)}
