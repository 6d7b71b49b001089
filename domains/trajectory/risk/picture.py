"""A picture of plans by their risk; matplotlib is imported when it is drawn."""

from pathlib import Path

import numpy as np

from domains.trajectory.bodies import Body
from domains.trajectory.drawing import (
    AGENTS,
    OTHERS,
    draw_map,
    label,
    panels,
    scale_bar,
    view_of,
)
from domains.trajectory.forecast import Forecast
from domains.trajectory.plots import from_now
from domains.trajectory.risk.filter import Kept
from guided.figures import INK, WIDTH, save
from guided.results import in_one_piece, require_writable

SHADES = "viridis_r"  # pale where nothing happens, dark where contact is certain


def plot_risk(forecast: Forecast, ego: int, kept: Kept, path: Path) -> None:
    """Draw one agent's plans, dark where they are risky and thin where they are not kept.

    Args:
        forecast: of the agent and the others, whose worlds are grey.
        ego: the agent's index into the scene.
        kept: the risk of its plans.
        path: PNG to write, in one piece.

    Raises:
        ValueError: for a path that cannot be written.
    """
    from matplotlib import colormaps
    from matplotlib.collections import LineCollection

    require_writable(path)
    scene, worlds = forecast.scene, from_now(forecast)
    name = f"{scene.name}: plans of agent {scene.ids[ego]}, by their risk"
    figure, (axes,) = panels([name], view_of(worlds.reshape(-1, 2)), WIDTH)
    draw_map(axes, scene.road)
    own = forecast.agents == ego
    grey = list(worlds[:, ~own].reshape(-1, *worlds.shape[2:]))
    axes.add_collection(LineCollection(grey, colors=OTHERS, linewidths=1.0, alpha=0.5, zorder=3))
    passed = np.isin(np.arange(len(worlds)), kept.index) & kept.within
    for plan, way in enumerate(worlds[:, own][:, 0]):
        risk, wide = float(kept.risk.any[plan]), 3.2 if passed[plan] else 1.4
        axes.plot(*way.T, color=colormaps[SHADES](risk), linewidth=wide, zorder=4 - risk)
        label(axes, tuple(way[-1]), f"{plan}: {risk:.2g}", INK)
    for a in forecast.agents:
        colour = AGENTS[0] if a == ego else OTHERS
        body = Body(axes, scene.kinds[a], colour, scene.ids[a] if a == ego else "")
        body.put(scene.positions[a, scene.now], float(scene.headings[a, scene.now]))
    scale_bar(axes)
    with in_one_piece(path) as part:
        save(figure, part)
