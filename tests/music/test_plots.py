"""Pictures: every note, label and number is drawn where it belongs, in the right colour."""

import struct

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle, StepPatch

from domains.music import plots
from domains.music.plots import Curve, Labels, Panel
from domains.music.roll import Grid, Notes, Roll

NOTES = Notes(
    np.array([0, 4, 16]), np.array([4, 12, 32]), np.array([60, 64, 79]), np.array([127, 64, 20])
)
ROLL = Roll.from_notes(NOTES, 32)
EMPTY = Roll(np.zeros((25, 88), np.uint8), np.zeros((25, 88), bool), Grid(fs=12.5))


def size(path):
    head = path.read_bytes()[:24]
    assert head.startswith(b"\x89PNG")
    return struct.unpack(">II", head[16:24])


def boxes(axes):
    return [p for p in axes.patches if isinstance(p, Rectangle)]


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_every_note_is_a_box_in_its_place():
    (axes,) = plots.piano_roll(ROLL, title="C major").axes
    (notes,) = axes.collections
    corners = np.array([path.vertices[:4] for path in notes.get_paths()])
    middle = (corners.min(axis=1) + corners.max(axis=1)) / 2
    np.testing.assert_allclose(middle, [[2, 60], [8, 64], [24, 79]])
    np.testing.assert_allclose(np.ptp(corners[..., 0], axis=1), [4, 8, 16], atol=0.2)
    light = notes.get_facecolors()[:, :3].mean(axis=1)
    assert light[0] < light[1] < light[2]  # louder is darker
    low, high = axes.get_ylim()
    assert low < 60 < 79 < high
    assert axes.get_title(loc="left") == "C major"
    ticks = dict(
        zip(axes.get_yticks(), [t.get_text() for t in axes.get_yticklabels()], strict=True)
    )
    assert ticks[60] == "C4"
    assert ticks[67] == "G4"
    assert [t.get_text() for t in axes.get_xticklabels()] == ["bar 1", "2"]
    assert axes.get_xticks().tolist() == [0, 16]


def test_labels_are_green_as_asked_red_where_not_grey_where_free():
    strip = Labels("chords", ["I", "vi", "V", "IV"], ["I", "ii", None, "IV"])
    figure = plots.piano_roll(ROLL, labels=[strip])
    axes = figure.axes[0]
    colours = [to_hex(box.get_facecolor()) for box in boxes(axes)]
    assert colours == [plots.RIGHT, plots.WRONG, plots.FREE, plots.RIGHT]
    assert texts(axes) == ["I", "vi", "asked ii", "V", "IV"]
    assert [box.get_x() for box in boxes(axes)] == [0, 8, 16, 24]
    plain = plots.piano_roll(ROLL, labels=[Labels("chords", ["I", "vi"])]).axes[0]
    assert {to_hex(box.get_facecolor()) for box in boxes(plain)} == {plots.FREE}


def test_curves_step_through_the_windows():
    curve = Curve("density", [1.0, 4.0], [2.0, float("nan")])
    figure = plots.piano_roll(ROLL, curves=[curve])
    asked, found = (p for p in figure.axes[-1].patches if isinstance(p, StepPatch))
    np.testing.assert_array_equal(found.get_data().values, [1, 4])
    np.testing.assert_array_equal(found.get_data().edges, [0, 16, 32])
    np.testing.assert_array_equal(asked.get_data().values, [2, np.nan])
    assert figure.axes[-1].get_ylim()[1] > 4


def test_pictures_are_1200_pixels_wide(tmp_path):
    plots.piano_roll(ROLL, tmp_path / "a.png", labels=[Labels("chords", ["I"] * 40, ["V"] * 40)])
    plots.compare([Panel(ROLL, "one"), Panel(EMPTY, "two")], tmp_path / "b.png", title="both")
    plots.error_curves({"key": [(1, 0.5, 0.1)]}, tmp_path / "c.png")
    widths = [size(tmp_path / name)[0] for name in ("a.png", "b.png", "c.png")]
    assert widths == [1200] * 3


def test_compared_rolls_share_their_axes():
    high = Roll.from_notes(NOTES._replace(pitch=NOTES.pitch + 24), 48)
    figure = plots.compare([Panel(ROLL, "low"), Panel(high, "high", [Labels("chords", ["I"])])])
    first, strip, second = figure.axes
    assert first.get_ylim() == second.get_ylim()
    assert first.get_xlim() == strip.get_xlim() == second.get_xlim() == (0, 48)
    assert [first.get_title(loc="left"), strip.get_title(loc="left")] == ["low", "high"]


def test_a_fixed_rate_roll_is_labelled_in_seconds():
    (axes,) = plots.piano_roll(EMPTY).axes
    assert [t.get_text() for t in axes.get_xticklabels()] == ["0 s"]
    assert axes.get_ylim()[1] - axes.get_ylim()[0] == plots.LEAST_PITCHES


def test_error_curves_show_means_and_standard_errors():
    figure = plots.error_curves({"key": [(4, 0.2, 0.05), (1, 0.8, 0.1)], "leap": [(1, 2, 0.5)]})
    key, leap = figure.axes
    line, _, (bars,) = key.containers[0]
    np.testing.assert_array_equal(line.get_xydata(), [[1, 0.8], [4, 0.2]])
    np.testing.assert_allclose([s[:, 1] for s in bars.get_segments()], [[0.7, 0.9], [0.15, 0.25]])
    assert (key.get_title(loc="left"), leap.get_title(loc="left")) == ("key", "leap")
    assert key.get_ylim()[0] == leap.get_ylim()[0] == 0


def test_refusals():
    with pytest.raises(ValueError, match="2 windows found and 1 asked"):
        Labels("chords", ["I", "V"], ["I"])
    with pytest.raises(ValueError, match="0 windows found"):
        Curve("density", [])
    with pytest.raises(ValueError, match="no panels"):
        plots.compare([])
    with pytest.raises(ValueError, match="n <= 0"):
        plots.error_curves({"key": [(0, 1, 0.1)]})
    with pytest.raises(ValueError, match="no points"):
        plots.error_curves({"key": []})
