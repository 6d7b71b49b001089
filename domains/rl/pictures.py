"""The pictures of an evaluation: return against scale, Q calibration, and paths in a maze."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from domains.rl.assess import calibration
from domains.rl.episodes import Episodes
from domains.rl.mazes import Maze, maze_paths
from domains.rl.plots import BINS, against_scale
from domains.rl.plots import calibration as plot_calibration
from domains.rl.policy import DiffusionPolicy
from domains.rl.statistics import bootstrap, mean

PATHS = 12  # episodes drawn in a maze


def draw(
    folder: Path,
    policy: DiffusionPolicy,
    make_env: Callable[[], Any],
    played: Mapping[float, Episodes],
    chosen: float,
) -> list[Path]:
    """Write all pictures that the episodes allow; return their paths.

    A calibration needs a critic, and as many steps as it has bins; paths need a maze.

    Args:
        folder: where to; made if it is not there.
        policy: that played.
        make_env: makes its environment.
        played: episodes by scale, with traces of flat observations.
        chosen: the scale whose steps the calibration shows.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "scale.png"]
    points = [
        (scale, bootstrap(mean, episodes.discounted, over="episodes"))
        for scale, episodes in played.items()
    ]
    against_scale(
        {"guided policy": points}, written[0], "The same episodes at every guidance scale",
        score="discounted return",
    )  # fmt: skip
    if policy.networks.critic is not None and played[chosen].lengths.sum() >= BINS:
        written.append(folder / "calibration.png")
        pair = calibration(policy, played[chosen])
        plot_calibration({f"scale {chosen:g}": pair}, written[-1], "Q against what followed")
    if path := draw_maze(folder / "maze.png", policy, make_env, played):
        written.append(path)
    return written


def draw_maze(
    path: Path,
    policy: DiffusionPolicy,
    make_env: Callable[[], Any],
    played: Mapping[float, Episodes],
) -> Path | None:
    """Draw where episodes went, a panel a scale.

    Return None for an environment without a maze, or whose states do not begin with the place (as
    those of AntMaze).
    """
    starts = next(iter(played.values())).starts
    if not _begin_with_the_place(policy, starts):
        return None
    env = make_env()
    try:
        if not hasattr(env.unwrapped, "maze"):
            return None
        maze = Maze.of(env)
    finally:
        env.close()
    paths = {scale: _positions(episodes) for scale, episodes in played.items()}
    goals = np.asarray(starts["desired_goal"])[:PATHS]
    maze_paths(maze, paths, goals, path, "The same episodes at every guidance scale")
    return path


def _begin_with_the_place(policy: DiffusionPolicy, starts: Any) -> bool:
    if (policy.keys or ("",))[0] != "observation" or "achieved_goal" not in starts:
        return False
    return np.array_equal(starts["observation"][:, :2], starts["achieved_goal"])


def _positions(episodes: Episodes) -> list[np.ndarray]:
    """Return the places (T + 1, 2) of the first episodes."""
    assert episodes.traces is not None
    return [trace.states[:, :2] for trace in episodes.traces[:PATHS]]
