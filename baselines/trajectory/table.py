"""The comparison as text: methods down, folds across, means over seeds with their spread."""

from collections.abc import Sequence

import numpy as np

from domains.trajectory.metrics.windows import WindowSummary

Results = dict[str, dict[str, list[WindowSummary]]]  # of a fold, of a method, of every seed
BLOCKS = (
    ("ADE / FDE, the best world for each person; metres", ("ade", "fde")),
    ("JADE / JFDE, the best world for all; metres", ("jade", "jfde")),
    ("CR mean, share of people who collide", ("cr_mean",)),
)
NAME, CELL = 20, 15


def text(results: Results) -> str:
    """Return figures of every fold and their mean over folds.

    With several seeds a figure is their mean, followed by their standard deviation.
    """
    folds = list(results)
    own = [next(iter(results[fold].values()))[0] for fold in folds]
    methods = list(results[folds[0]])
    several = len(results[folds[0]][methods[0]]) > 1
    width = CELL + (14 if several else 0)
    lines = [
        _line("", [*folds, "mean of folds"], width),
        _line("windows / people", [f"{one.windows} / {one.people}" for one in own], width),
    ]
    for title, names in BLOCKS:
        lines.append(f"\n{title}")
        for method in methods:
            values = figures(results, method, names)
            cells = [_cell(one) for one in [*values, values.mean(0)]]
            lines.append(_line(method, cells, width))
    return "\n".join(lines)


def figures(results: Results, method: str, names: Sequence[str]) -> np.ndarray:
    """Return figures of a method by their names, (folds, seeds, names)."""
    return np.array(
        [[[getattr(one, n) for n in names] for one in own[method]] for own in results.values()]
    )


def _cell(values: np.ndarray) -> str:
    """Return the means over seeds of (seeds, names), with deviations where there are several."""
    means = [f"{value:.3f}" for value in values.mean(0)]
    if len(values) > 1:
        spread = values.std(0, ddof=1)
        means = [f"{mean} ±{one:.3f}" for mean, one in zip(means, spread, strict=True)]
    return " / ".join(means)


def _line(name: str, cells: Sequence[str], width: int) -> str:
    return f"{name:{NAME}}" + "".join(f"{cell:>{width}}" for cell in cells)
