"""The picture of an experiment: what is played, what it costs, and what its log tells."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from domains.rl.colours import LINES, colours
from domains.rl.off_policy.bandit import Bandit
from domains.rl.off_policy.capped_igw import Cap, acceptance, solve_beta
from domains.rl.off_policy.experiment import Log
from guided.figures import FAINT, FRAME, INK, Path, new_figure, plain, save

BINS = 60  # of the histograms


def draw(
    bandit: Bandit,
    logs: Mapping[str, Log],
    rows: Mapping[str, Sequence[Mapping[str, Any]]],
    cap: Cap,
    path: Path | None = None,
    title: str = "",
) -> Figure:
    """Draw three panels: the law of the last round, losses over rounds, estimates beside the truth.

    Args:
        bandit: it.
        logs: by logger.
        rows: estimates of each logger, a row a target.
        cap: settings of the last round.
        path: PNG to write; None writes none.
        title: headline.
    """
    figure = new_figure(4.2, title)
    law, cost, value = figure.subplots(1, 3)
    _law(law, bandit, next(iter(logs.values())), cap)
    _cost(cost, bandit, logs)
    _values(value, rows)
    for axes in (law, cost, value):
        axes.grid(axis="y", color=FAINT)
        axes.set_axisbelow(True)
        # Below the line of the reference, where the costs of the others have fallen.
        axes.legend(frameon=False, fontsize=8, loc="upper right", bbox_to_anchor=(1.0, 0.89))
        plain(axes)
    return save(figure, path)


def _law(axes: Axes, bandit: Bandit, log: Log, cap: Cap) -> None:
    actions = bandit.actions[:1]
    losses = log.prediction(log.labels.new_zeros(1), actions[..., None])
    q = cap.tau * acceptance(losses, solve_beta(losses, cap.tau, cap.gamma), cap.gamma)
    order = np.argsort(actions[0].numpy())
    a, density = actions[0].numpy()[order], q[0].numpy()[order]
    shown: dict[str, Any] = {"bins": BINS, "density": True, "alpha": 0.45}
    axes.hist(a, color=FRAME, label="reference \u03bc", **shown)
    axes.hist(a, weights=density, color=LINES[0], label="q \u03bc", **shown)
    axes.plot(a, density, color=LINES[1], linewidth=1.6, label="density q to \u03bc")
    axes.plot(a, losses[0].numpy()[order], color=INK, linewidth=1, label="predicted loss")
    axes.set_xlabel("action, first context", fontsize=9)


def _cost(axes: Axes, bandit: Bandit, logs: Mapping[str, Log]) -> None:
    for (name, colour), log in zip(colours(list(logs)).items(), logs.values(), strict=True):
        blocks = log.blocks()
        ends = len(log.losses) * np.arange(1, len(blocks) + 1) / len(blocks)
        axes.plot(ends, blocks, color=colour, linewidth=1.6, label=name)
    best = bandit.targets[-1]
    axes.axhline(bandit.truth(best), color=INK, linewidth=1, linestyle=":", label=best.name)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("rounds", fontsize=9)
    axes.set_ylabel("expected loss of what was played", fontsize=9)


def _values(axes: Axes, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    targets = next(iter(rows.values()))
    offsets = np.linspace(-0.25, 0.25, len(rows))
    shades = colours(list(rows)).items()
    for (name, colour), offset, found in zip(shades, offsets, rows.values(), strict=True):
        values = np.array([row["ips"]["value"] for row in found])
        errors = 2 * np.array([row["ips"]["error"] for row in found])
        axes.errorbar(
            np.arange(len(found)) + offset, values, errors, color=colour, linestyle="", marker="o",
            markersize=4, capsize=3, label=name,
        )  # fmt: skip
    truths = [row["truth"] for row in targets]
    places = np.arange(len(targets))
    axes.hlines(truths, places - 0.4, places + 0.4, color=INK, linewidth=1, label="truth")
    axes.set_xticks(places, [row["target"] for row in targets])
    axes.set_ylim(bottom=0)
    axes.set_ylabel("loss: IPS, two standard errors", fontsize=9)
