"""Pictures: everything is where it belongs, in one view, and what cannot be drawn is refused."""

import struct
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_hex
from matplotlib.patches import PathPatch

from domains.trajectory import bodies, drawing, plots
from domains.trajectory.forecast import Forecast
from tests.trajectory.pictured import FUTURE, forecast, plaza, street

GOALS = (("turn in", np.array([30.0, 30.0]), 1), ("meet", np.array([46.0, -8.0]), None))


def size(path):
    head = path.read_bytes()[:24]
    assert head.startswith(b"\x89PNG")
    return struct.unpack(">II", head[16:24])


def of_kind(axes, kind):
    return [artist for artist in axes.collections if isinstance(artist, kind)]


def shells(axes):
    """Bodies, without their windscreens."""
    found = [patch for patch in axes.patches if isinstance(patch, PathPatch)]
    return [patch for patch in found if to_hex(patch.get_facecolor()) != bodies.GLASS]


def texts(axes):
    return [text.get_text() for text in axes.texts if text.get_text()]


def contained(axes, points):
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    low, high = np.nanmin(points.reshape(-1, 2), 0), np.nanmax(points.reshape(-1, 2), 0)
    return left < low[0] and bottom < low[1] and high[0] < right and high[1] < top


def drawn_lines(axes, order):
    return [line for c in of_kind(axes, LineCollection) if c.get_zorder() == order
            for line in c.get_segments()]  # fmt: skip


def test_a_scene_has_one_body_for_everybody_who_is_there(tmp_path):
    scene, path = street(), tmp_path / "new" / "scene.png"
    (axes,) = plots.plot_scene(scene, path).axes
    assert size(path)[0] == 1200
    assert [p.name for p in path.parent.iterdir()] == ["scene.png"]  # no temporary file is left
    assert len(shells(axes)) == scene.agents
    assert set(scene.ids) <= set(texts(axes))
    for shell, place in zip(shells(axes), scene.positions[:, scene.now], strict=True):
        centre = shell.get_transform().transform([[0.0, 0.0]])
        np.testing.assert_allclose(centre, axes.transData.transform([place]))
    assert contained(axes, plots.known_lines(scene))


def test_who_is_not_there_now_is_not_drawn():
    scene = street()
    valid = scene.valid.copy()
    valid[1, scene.now] = False
    (axes,) = plots.plot_scene(replace(scene, valid=valid)).axes
    assert len(shells(axes)) == scene.agents - 1
    assert "c1" not in texts(axes)
    with pytest.raises(ValueError, match="nobody is seen now"):
        plots.plot_scene(replace(scene, valid=np.zeros_like(valid)))


def test_who_is_not_scored_is_grey_and_has_no_name():
    scored = np.arange(6) < 2
    (axes,) = plots.plot_scene(replace(street(), scored=scored)).axes
    found = [to_hex(shell.get_facecolor()) for shell in shells(axes)]
    assert found == [*drawing.AGENTS[:2], *[drawing.OTHERS] * 4]
    assert [t for t in texts(axes) if not t.endswith(" m")] == ["c0", "c1"]


def test_a_body_looks_along_its_heading_and_has_the_size_of_its_kind():
    scene = street()
    (axes,) = plots.plot_scene(scene).axes
    back = axes.transData.inverted()
    for a, shell in enumerate(shells(axes)[:4]):
        corners = shell.get_path().vertices
        np.testing.assert_allclose(np.ptp(corners, axis=0), bodies.SIZES["vehicle"])
        nose = back.transform(shell.get_transform().transform([[1.0, 0.0]]))[0]
        along = np.array(
            [np.cos(scene.headings[a, scene.now]), np.sin(scene.headings[a, scene.now])]
        )
        np.testing.assert_allclose(nose - scene.positions[a, scene.now], along, atol=1e-9)


@pytest.mark.parametrize("kind", list(bodies.SIZES))
def test_every_kind_has_its_size_unless_that_is_too_small_to_see(kind):
    length, width = bodies.SIZES[kind]
    assert np.allclose(np.ptp(bodies.outline(kind).vertices, axis=0), (length, width), atol=1e-6)
    large = np.ptp(bodies.outline(kind, 20.0).vertices, axis=0)
    np.testing.assert_allclose(large, (20.0, 20.0 * width / length), rtol=1e-6)
    if (glass := bodies.windscreen(kind)) is not None:
        assert bodies.outline(kind).contains_points(glass.vertices).all()
        assert glass.vertices[:, 0].min() > 0  # at the front


def test_one_metre_is_as_long_upwards_as_sidewards():
    for figure in (plots.plot_scene(plaza()), plots.plot_scene(street())):
        (axes,) = figure.axes
        across, up = axes.transData.transform([[1, 0], [0, 1]]) - axes.transData.transform([0, 0])
        assert across[0] == pytest.approx(up[1], rel=2e-3)  # a picture has whole pixels
        (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
        assert drawing.FLATTEST - 1e-9 <= (top - bottom) / (right - left) <= drawing.STEEPEST + 1e-9


def test_samples_begin_now_and_end_at_the_last_step_in_the_colour_of_their_agent(tmp_path):
    scene, path = street(), tmp_path / "forecast.png"
    found = forecast(scene, goals=GOALS)
    (axes,) = plots.plot_forecast(found, path).axes
    assert size(path)[0] == 1200
    thin = [c for c in of_kind(axes, LineCollection) if c.get_zorder() == 3]
    assert len(thin) == len(found.agents)
    for n, lines in enumerate(thin):
        assert to_hex(lines.get_colors()[0]) == drawing.AGENTS[n]
        for world, line in zip(found.worlds[:, n], lines.get_segments(), strict=True):
            np.testing.assert_array_equal(line[0], scene.positions[n, scene.now])
            np.testing.assert_array_equal(line[1:], world)
    thick = [line for line in axes.lines if line.get_zorder() == 3.6]
    for n, line in enumerate(thick):  # the first world is the most likely
        np.testing.assert_array_equal(line.get_xydata()[1:], found.worlds[0, n])
    assert len(thick) == len(found.agents)
    points = np.concatenate([found.worlds.reshape(-1, 2), *(g[1][None] for g in GOALS)])
    assert contained(axes, points)
    assert contained(axes, plots.known_lines(scene)[:, : scene.now + 1])


def test_truth_is_drawn_as_far_as_it_is_known():
    scene = street()
    found = forecast(scene)
    lines = drawn_lines(plots.plot_forecast(found).axes[0], 3.9)
    ahead = scene.positions[:, scene.now : scene.now + FUTURE + 1]
    seen = scene.valid[:, scene.now : scene.now + FUTURE + 1]
    assert not seen[1].all() and len(lines) == scene.agents
    for line, way, known in zip(lines, ahead, seen, strict=True):
        np.testing.assert_array_equal(line[np.isfinite(line).all(-1)], way[known])
    assert drawn_lines(plots.plot_forecast(found, truth=False).axes[0], 3.9) == []
    coarse = replace(found, dt=0.6, worlds=found.worlds[:, :, :6])  # no multiple of the scene's dt
    assert plots.truth_lines(coarse).shape == (6, 1 + 9, 2)


def test_worlds_of_equal_probability_have_no_most_likely_one():
    sure, unsure = forecast(street()), forecast(street(), likely=False)
    assert plots.likeliest(sure) == 0
    assert plots.likeliest(unsure) is None
    for found, named in ((sure, True), (unsure, False)):
        figure = plots.plot_forecast(found)
        shown = [text.get_text() for text in figure.legends[0].get_texts()]
        assert ("most likely" in shown) == named
        assert any(line.get_zorder() == 3.6 for line in figure.axes[0].lines) == named


def test_goals_are_stars_of_their_agents_and_crosses_of_nobody():
    (axes,) = plots.plot_forecast(forecast(street(), goals=GOALS)).axes
    marks = {line.get_marker(): line for line in axes.lines if line.get_zorder() == 8}
    np.testing.assert_array_equal(marks["*"].get_xydata(), [GOALS[0][1]])
    assert to_hex(marks["*"].get_color()) == drawing.AGENTS[1]
    np.testing.assert_array_equal(marks["X"].get_xydata(), [GOALS[1][1]])
    assert {"turn in", "meet"} <= set(texts(axes))
    (arrow,) = [t for t in axes.texts if hasattr(t, "arrow_patch") and t.arrow_patch is not None]
    np.testing.assert_array_equal(arrow.xy, GOALS[0][1])


def test_the_map_is_drawn_with_all_its_parts():
    scene = street()
    (axes,) = plots.plot_scene(scene).axes
    ground, crossings = of_kind(axes, PolyCollection)
    np.testing.assert_allclose(ground.get_paths()[0].vertices[:-1], scene.road.lanes[0].outline)
    assert len(ground.get_paths()) == 2 and len(crossings.get_paths()) == 1
    static = [c for c in of_kind(axes, LineCollection) if c.get_zorder() < 2]
    assert [len(c.get_segments()) for c in static] == [4, 1, 1]  # bounds, stops, walls
    (empty,) = plots.plot_scene(plaza()).axes
    assert not of_kind(empty, PolyCollection)


def test_a_comparison_has_one_view_and_one_colour_an_agent(tmp_path):
    scene, path = street(), tmp_path / "comparison.png"
    wide, narrow = forecast(scene, spread=0.8), forecast(scene, agents=[2, 4], spread=0.1)
    figure = plots.plot_comparison({"unguided": wide, "guided": narrow}, path)
    assert size(path)[0] == 1200
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["unguided", "guided"]
    left, right = figure.axes
    assert left.get_xlim() == right.get_xlim() and left.get_ylim() == right.get_ylim()
    assert contained(right, wide.worlds)
    lines = [c for c in of_kind(right, LineCollection) if c.get_zorder() == 3]
    assert [to_hex(c.get_colors()[0]) for c in lines] == [drawing.AGENTS[2], drawing.AGENTS[4]]
    grey = [to_hex(shell.get_facecolor()) == drawing.OTHERS for shell in shells(right)]
    assert grey == [False] * 6  # predicted in the other panel, so of the same colour there


def test_four_forecasts_stand_in_two_rows():
    figure = plots.plot_comparison({str(i): forecast(plaza(), seed=i) for i in range(4)})
    places = {tuple(np.round(axes.get_position().min, 6)) for axes in figure.axes}
    assert len(places) == 4
    assert len({x for x, _ in places}) == len({y for _, y in places}) == 2


def test_the_same_forecast_gives_the_same_bytes(tmp_path):
    first, second = tmp_path / "a.png", tmp_path / "b.png"
    for path in (first, second):
        plots.plot_forecast(forecast(street(), goals=GOALS), path)
    assert first.read_bytes() == second.read_bytes()


def test_a_view_ignores_what_is_unknown_and_is_never_tiny():
    view = drawing.view_of(np.array([[3.0, 4.0], [np.nan, 100.0]]))
    assert view.width == drawing.LEAST
    assert (view.left + view.width / 2, view.bottom + view.height / 2) == pytest.approx((3, 4))


def test_the_scale_bar_has_its_length_and_is_round():
    (axes,) = plots.plot_scene(street()).axes
    (bar,) = [line for line in axes.lines if line.get_zorder() == 9]
    length = float(np.ptp(bar.get_xdata()))
    assert length in (1, 2, 5, 10, 20, 50)
    assert f"{length:g} m" in texts(axes)
    assert length <= np.ptp(axes.get_xlim()) / 6 < 2.5 * length


def empty():
    scene = street()
    return Forecast(scene, np.zeros(0, int), np.zeros((1, 0, 3, 2)), 0.4, np.ones(1))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: {}, "no forecast to draw"),
        (lambda: {"a": empty()}, r"a: a forecast of shape \(1, 0, 3, 2\) has nothing to draw"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(wrong, said):
    with pytest.raises(ValueError, match=said):
        plots.plot_comparison(wrong())


def test_a_path_that_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(ValueError, match="it is a folder"):
        plots.plot_scene(street(), tmp_path)
    assert list(tmp_path.iterdir()) == []
