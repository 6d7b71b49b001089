"""Pictures: everything is drawn where it belongs, and what cannot be drawn is refused."""

import struct
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PatchCollection, PolyCollection
from matplotlib.patches import Circle

from domains.rl import mazes, plots
from domains.rl.evaluate import Trials, evaluate
from domains.rl.mazes import Maze
from domains.rl.pictures import draw_maze
from domains.rl.statistics import Interval
from tests.rl.arenas import Seeker, point_maze

WALLS = np.array([[1, 1, 1, 1], [1, 0, 0, 1], [1, 1, 1, 1]], dtype=bool)
PATHS = {
    2.0: [np.array([[0.0, 0.0], [1.0, 0.5]]), np.array([[-1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])],
    0.0: [np.array([[0.5, 0.0], [1.0, 0.0]])],
}
POINTS = [(2.0, Interval(5.0, 4.0, 7.0)), (1.0, Interval(3.0, 2.0, 3.5))]


def of_kind(axes, kind):
    return [artist for artist in axes.collections if isinstance(artist, kind)]


def size(path):
    head = path.read_bytes()[:24]
    assert head.startswith(b"\x89PNG")
    return struct.unpack(">II", head[16:24])


def test_walls_are_boxes_round_the_origin():
    corners = Maze(WALLS, 2.0).boxes()
    assert len(corners) == WALLS.sum()
    assert min(corners) == (-4, -3)
    assert max(corners) == (2, 1)
    assert (-2, -1) not in corners  # the free cell in the middle, on the left


def test_the_maze_of_point_maze_agrees_with_its_own_cells():
    pytest.importorskip("gymnasium_robotics")
    env = point_maze()
    maze, truth = Maze.of(env), env.unwrapped.maze
    assert maze.cell == truth.maze_size_scaling
    centres = {tuple(np.round(np.add(corner, maze.cell / 2), 6)) for corner in maze.boxes()}
    for row, cells in enumerate(truth.maze_map):
        for column, cell in enumerate(cells):
            at = tuple(np.round(truth.cell_rowcol_to_xy(np.array([row, column])), 6))
            assert (at in centres) == (cell == 1)
    env.close()
    with pytest.raises(ValueError, match="has no maze"):
        Maze.of(type("Plain", (), {"unwrapped": 0})())


def test_every_label_has_a_panel_with_its_paths_and_the_common_goals(tmp_path):
    path = tmp_path / "maze.png"
    figure = mazes.maze_paths(Maze(WALLS), PATHS, [[1.0, 0.0], [0.5, 0.0]], path, "headline")
    assert size(path)[0] == 1200
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["scale 2", "scale 0"]
    shades = []
    for axes, lines in zip(figure.axes, PATHS.values(), strict=True):
        (drawn,) = of_kind(axes, LineCollection)
        for found, wanted in zip(drawn.get_segments(), lines, strict=True):
            np.testing.assert_array_equal(found, wanted)
        (boxes,) = of_kind(axes, PatchCollection)
        assert len(boxes.get_paths()) == WALLS.sum()
        assert [p.center for p in axes.patches if isinstance(p, Circle)] == [(1, 0), (0.5, 0)]
        starts = axes.collections[-1].get_offsets()
        np.testing.assert_array_equal(starts, [line[0] for line in lines])
        shades.append(drawn.get_colors()[0][:3].mean())
    assert shades[0] < shades[1]  # the larger scale is darker, whatever the order


@pytest.mark.parametrize("draw", [plots.learning_curves, plots.against_scale])
def test_curves_are_sorted_and_have_their_intervals(draw, tmp_path):
    path = tmp_path / "curve.png"
    (axes,) = draw({"CEP": POINTS, "IQL": POINTS[:1]}, path, "headline").axes
    assert size(path)[0] == 1200
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), [[1, 3], [2, 5]])
    if draw is plots.learning_curves:
        band = of_kind(axes, PolyCollection)[0].get_paths()[0].vertices
        corners = {(1, 2), (1, 3.5), (2, 4), (2, 7)}
        assert corners <= {tuple(corner) for corner in band}
    else:
        bars = of_kind(axes, LineCollection)[0].get_segments()
        np.testing.assert_allclose(bars, [[[1, 2], [1, 3.5]], [[2, 4], [2, 7]]])
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["CEP", "IQL"]


def test_bins_of_a_calibration_are_means_of_equally_many_steps():
    q = np.random.default_rng(0).permutation(np.arange(100.0))
    (axes,) = plots.calibration({"Q": (q, 2 * q + 1)}, bins=4).axes
    (binned, identity) = axes.lines
    centres = np.array([12, 37, 62, 87])
    np.testing.assert_allclose(binned.get_xydata(), np.stack([centres, 2 * centres + 1], 1))
    np.testing.assert_allclose(identity.get_xdata(), identity.get_ydata())
    assert identity.get_xdata()[1] == 199
    points = axes.collections[0].get_offsets()
    np.testing.assert_allclose(points[:, 1], 2 * points[:, 0] + 1)
    assert len(points) == 100


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: mazes.maze_paths(Maze(WALLS), {}), "0 labels"),
        (lambda: mazes.maze_paths(Maze(WALLS), {1.0: []}), "at least one"),
        (lambda: mazes.maze_paths(Maze(WALLS), {1.0: [np.zeros(2)]}), r"shapes \[\(2,\)\]"),
        (lambda: plots.learning_curves({}), "return against training steps got no points"),
        (lambda: plots.against_scale({"CEP": []}), "return against guidance scale got no points"),
        (lambda: plots.calibration({}), "no critics"),
        (lambda: plots.calibration({"Q": (np.zeros(30), np.zeros(29))}), "of 'Q'"),
        (lambda: plots.calibration({"Q": (np.zeros(3), np.zeros(3))}), "at least 12"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(wrong, said):
    with pytest.raises(ValueError, match=said):
        wrong()


def test_a_maze_is_drawn_only_of_states_that_begin_with_the_place(tmp_path):
    pytest.importorskip("gymnasium_robotics")
    found = evaluate(point_maze, Seeker(), Trials(1), keep=lambda obs: obs["observation"])
    policy = SimpleNamespace(keys=("observation", "desired_goal"))
    path = tmp_path / "maze.png"
    assert draw_maze(path, policy, point_maze, {0.0: found}) == path and size(path)[0] == 1200
    elsewhere = {**found.starts, "achieved_goal": found.starts["achieved_goal"] + 1}  # as AntMaze
    assert draw_maze(path, policy, point_maze, {0.0: replace(found, starts=elsewhere)}) is None
    policy.keys = ("desired_goal", "observation")
    assert draw_maze(path, policy, point_maze, {0.0: found}) is None
