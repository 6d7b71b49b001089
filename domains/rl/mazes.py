"""Pictures of mazes: where the episodes of every guidance scale went.

Conventions:
    ``maze_paths`` returns a Figure and writes a PNG, 1200 pixels wide, where a path is given; it
    does not touch pyplot's global state. Labels that are numbers, such as scales, are coloured from
    light to dark in their order. White rings are starts, stars in green discs are goals.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from numpy.typing import ArrayLike

from domains.rl.colours import colours
from guided.figures import INK, WIDTH, Path, new_figure, save

PER_ROW = 3  # panels
MANY_PATHS = 12  # more than these are drawn thin
RIM = 0.4  # how much of the outermost walls is shown, in cells
RADIUS = 0.45  # of a goal, as in gymnasium-robotics
WALL, GOAL, REGION = "#c9ced6", "#2e7d4f", "#d3eeda"


@dataclass(frozen=True, eq=False)
class Maze:
    """Walls on a grid centred on the origin.

    Args:
        walls: where they are, (rows, columns), the first row on top, bool.
        cell: length of a cell's side.
    """

    walls: np.ndarray
    cell: float = 1.0

    @classmethod
    def of(cls, env: Any) -> "Maze":
        """Return the maze of a PointMaze or AntMaze environment of gymnasium-robotics.

        Raises:
            ValueError: if the environment has none.
        """
        maze = getattr(env.unwrapped, "maze", None)
        if maze is None:
            raise ValueError(
                f"{type(env.unwrapped).__name__} has no maze; give an environment that has"
            )
        walls = np.array([[cell == 1 for cell in row] for row in maze.maze_map])
        return cls(walls, float(maze.maze_size_scaling))

    def boxes(self) -> list[tuple[float, float]]:
        """Return the lower left corner of every wall."""
        rows, columns = self.walls.shape
        return [
            ((column - columns / 2) * self.cell, (rows / 2 - row - 1) * self.cell)
            for row, column in np.argwhere(self.walls)
        ]


def maze_paths(
    maze: Maze,
    paths: Mapping[Any, Sequence[np.ndarray]],
    goals: ArrayLike | None = None,
    path: Path | None = None,
    title: str = "",
) -> Figure:
    """Draw where episodes went, a panel a label.

    Args:
        maze: its walls.
        paths: for every label the positions of its episodes, each (T + 1, 2).
        goals: of the episodes, the same for every label, (E, 2) or (2,).
        path: PNG to write; None writes none.
        title: headline.

    Raises:
        ValueError: for no paths, or paths of another shape.
    """
    wrong = [np.shape(line) for lines in paths.values() for line in lines if np.ndim(line) != 2]
    if not paths or not all(len(lines) for lines in paths.values()) or wrong:
        raise ValueError(
            f"maze_paths got {len(paths)} labels, and paths of shapes {wrong}; give each label at"
            f" least one (T + 1, 2)"
        )
    figure, panels = _panels(maze, len(paths), title)
    places = np.empty((0, 2)) if goals is None else np.reshape(goals, (-1, 2))
    for axes in panels:
        _walls(axes, maze)
        for goal in places:
            _goal(axes, goal)
    for index, (label, colour) in enumerate(colours(list(paths)).items()):
        said = f"{label:g}" if isinstance(label, int | float) else label
        _lines(panels[index], paths[label], colour)
        panels[index].set_title(f"scale {said}", loc="left", fontsize=11, color=INK)
    return save(figure, path)


def _panels(maze: Maze, count: int, title: str) -> tuple[Figure, list[Axes]]:
    columns = min(count, PER_ROW)
    rows = -(-count // columns)
    height, width = maze.walls.shape
    figure = new_figure(min(WIDTH / columns * height / width, 7.0) * rows + 0.6, title)
    grid = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for axes in grid[count:]:
        axes.remove()
    return figure, grid[:count]


def _walls(axes: Axes, maze: Maze) -> None:
    boxes = [Rectangle(corner, maze.cell, maze.cell) for corner in maze.boxes()]
    axes.add_collection(
        PatchCollection(boxes, facecolor=WALL, edgecolor="white", linewidth=0.6, zorder=1)
    )
    half = (np.array(maze.walls.shape) / 2 - 1 + RIM) * maze.cell
    axes.set_xlim(-half[1], half[1])
    axes.set_ylim(-half[0], half[0])
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _goal(axes: Axes, goal: np.ndarray) -> None:
    axes.add_patch(Circle(tuple(goal), RADIUS, facecolor=REGION, edgecolor="none", zorder=0.5))
    axes.plot(*goal, marker="*", color=GOAL, markersize=9, linestyle="none", zorder=4)


def _lines(axes: Axes, lines: Sequence[np.ndarray], colour: Any) -> None:
    thin = len(lines) > MANY_PATHS
    axes.add_collection(
        LineCollection(
            [np.asarray(line) for line in lines], colors=[colour], zorder=2,
            linewidths=0.9 if thin else 1.6, alpha=0.5 if thin else 0.85, capstyle="round",
        )
    )  # fmt: skip
    starts = np.array([line[0] for line in lines])
    axes.scatter(
        starts[:, 0], starts[:, 1], s=16, facecolor="white", edgecolor=INK, linewidth=0.9, zorder=3
    )
