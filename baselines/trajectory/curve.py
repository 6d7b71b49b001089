"""Errors against network calls, as a picture."""

from guided.figures import FAINT, INK, Path, new_figure, plain, save

# Of a figure, such as JADE: the points (calls, metres) of each prior and start.
Curves = dict[str, dict[str, list[tuple[int, float]]]]
LOOKS = {
    "ogd, start at calls / 10": ("#1f6fb4", "o", "fitted prior (OGD), T = calls / 10"),
    "ogd, start at 1": ("#3a9a6d", "^", "fitted prior (OGD), T = 1"),
    "vanilla": ("#d1622b", "s", "vanilla prior"),
}


def draw(curves: Curves, path: Path, title: str) -> None:
    """Write a PNG with a panel for each figure.

    Raises:
        ValueError: where matplotlib is not installed.
    """
    figure = new_figure(4.2, title, width=9.0)
    panels = figure.subplots(1, len(curves), squeeze=False)[0]
    for axes, (name, lines) in zip(panels, curves.items(), strict=True):
        for prior, points in lines.items():
            colour, marker, label = LOOKS[prior]
            calls, metres = zip(*sorted(points), strict=True)
            axes.plot(calls, metres, color=colour, marker=marker, linewidth=1.8, label=label)
        axes.set_xticks(sorted({c for points in lines.values() for c, _ in points}))
        axes.set_xlabel("network calls", fontsize=9)
        axes.set_ylabel(f"{name}, metres", fontsize=9)
        axes.grid(axis="y", color=FAINT)
        axes.set_axisbelow(True)
        plain(axes)
    panels[0].legend(frameon=False, fontsize=9, labelcolor=INK)
    save(figure, path)
