"""The plot of ``guided-bench posterior --curve``: error against forward evaluations."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from guided.figures import new_figure


def error_against_budget(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw SW1 over its floor for every problem and noise, one line a method.

    Args:
        rows: figures as the command keeps them.
        path: the picture.

    Raises:
        ValueError: where matplotlib is not installed.
    """
    cases = list(dict.fromkeys((row["problem"], row["noise"]) for row in rows))
    columns = min(3, len(cases))
    lines = -(-len(cases) // columns)
    figure = new_figure(3.6 * lines, width=4.5 * columns)
    for index, (name, noise) in enumerate(cases):
        axes = figure.add_subplot(lines, columns, index + 1)
        _draw(axes, [row for row in rows if (row["problem"], row["noise"]) == (name, noise)])
        axes.set_title(f"{name}, noise x {noise:g}", fontsize=10)
        axes.axhline(1.0, color="black", linewidth=1, linestyle=":")
        axes.text(0.02, 1.02, "exact draws", transform=axes.get_yaxis_transform(), fontsize=7)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    columns = min(7, len(labels))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=7)
    figure.savefig(path, format="png")


def _draw(axes: Any, rows: Sequence[dict[str, Any]]) -> None:
    for method in dict.fromkeys(row["method"] for row in rows):
        points = sorted((r["forward"], r["sw1_ratio"]) for r in rows if r["method"] == method)
        thick = method in ("SIR", "tempered SMC")
        axes.plot(
            *zip(*points, strict=True),
            marker="o",
            markersize=3,
            linewidth=2.2 if thick else 1.0,
            label=method,
        )
    axes.set(xscale="log", yscale="log")
    axes.set_xlabel("forward evaluations per particle", fontsize=8)
    axes.set_ylabel("SW1 / floor", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
