"""Pitch histogram and note density against hand-made rolls and the original code."""

import numpy as np
import pytest
import torch

from domains.music.roll import Notes, Roll, Rolls
from domains.music.rules.density import NoteDensity
from domains.music.rules.names import key_index, midi_note, note_name, pitch_class, scale
from domains.music.rules.pitch import PitchHistogram


def play(*notes: tuple[int, int, int, int], columns: int = 32) -> Rolls:
    """Rolls of one roll with notes (first column, column after the last, MIDI pitch, velocity)."""
    start, end, pitch, velocity = (np.array(values) for values in zip(*notes, strict=True))
    return Rolls.stack([Roll.from_notes(Notes(start, end, pitch, velocity), columns)])


def test_histogram_weighs_by_velocity_and_length():
    rolls = play((0, 4, 60, 100), (4, 6, 76, 50), (8, 16, 43, 25))  # C4 400, E5 100, G2 200
    histogram = PitchHistogram().measure(rolls)
    expected = torch.zeros(12)
    expected[[0, 4, 7]] = torch.tensor([4.0, 1.0, 2.0]) / 7
    torch.testing.assert_close(histogram, expected[None])
    assert PitchHistogram().show(histogram[0]) == "C:0.57,G:0.29,E:0.14"


def test_histogram_of_every_piano_key_has_the_right_class():
    for pitch in range(21, 109):
        histogram = PitchHistogram().measure(play((0, 1, pitch, 64)))[0]
        assert int(histogram.argmax()) == pitch % 12
        assert float(histogram.sum()) == pytest.approx(1)


def test_histogram_targets():
    rule = PitchHistogram()
    named = rule.parse("C:2, E:1, G:1, Db:0", 32)
    listed = rule.parse("2 0 0 0 1 0 0 1 0 0 0 0", 32)
    assert torch.equal(named, listed)
    assert named[[0, 4, 7]].tolist() == [0.5, 0.25, 0.25]
    only_c = torch.eye(12)[:1]
    assert float(rule.loss(only_c, named)) == pytest.approx((0.5**2 + 2 * 0.25**2) / 12)
    for text, message in {
        "1,2,3": "3 numbers; give 12", "C:-1": "0 or more", "C:0": "above 0", "H:1": "'H'",
        "C:much": "'much'", "C:nan": "0 or more", "C:1,E": "''",
    }.items():  # fmt: skip
        with pytest.raises(ValueError, match=message):
            rule.parse(text, 32)


def test_density_counts_sounding_pitches_and_starting_columns():
    # bar 1: a chord of three in column 0, held 8 columns, and one note in column 4, held 4
    # bar 2: one note in column 16, held 16
    chord = [(0, 8, pitch, 80) for pitch in (60, 64, 67)]
    rolls = play(*chord, (4, 8, 72, 80), (16, 32, 60, 80))
    expected = torch.tensor([[(3 * 8 + 4) / 16, 1.0, 2 / 5, 1 / 5]])
    torch.testing.assert_close(NoteDensity().measure(rolls), expected)
    torch.testing.assert_close(NoteDensity(starts="sustain").measure(rolls), expected)
    one = NoteDensity(window=32, horizontal_scale=1.0).measure(rolls)
    torch.testing.assert_close(one, torch.tensor([[(3 * 8 + 4 + 16) / 32, 3.0]]))


def test_only_the_onset_channel_tells_a_repeated_note():
    rolls = play(*[(4 * i, 4 * i + 4, 60, 80) for i in range(8)])
    assert NoteDensity(horizontal_scale=1).measure(rolls)[0, 2:].tolist() == [4, 4]
    sustain = NoteDensity(horizontal_scale=1, starts="sustain").measure(rolls)
    assert sustain[0, 2:].tolist() == [1, 0]


@pytest.mark.parametrize(("velocity", "counts"), [(3, 0), (4, 1)])
def test_density_begins_at_velocity_4(velocity, counts):
    density = NoteDensity(horizontal_scale=1).measure(play((0, 16, 60, velocity)))
    assert density[0].tolist() == [counts, 0, counts, 0]


def test_density_targets():
    rule = NoteDensity()
    assert rule.parse("vertical:3,horizontal:6", 32).tolist() == pytest.approx([3, 3, 1.2, 1.2])
    assert rule.parse("horizontal:6 1, vertical:2 3", 32).tolist() == pytest.approx(
        [2, 3, 1.2, 0.2]
    )
    free = rule.parse("vertical:2 4", 32)
    assert rule.show(free) == "vertical:2 4, horizontal:free free"
    losses = rule.loss(torch.tensor([[2.0, 4, 9, 9], [3, 2, 0, 0]]), free)
    assert losses.tolist() == [0, (1 + 4) / 2]
    full = rule.parse("vertical:2 4,horizontal:5", 32)
    assert rule.loss(torch.tensor([[3.0, 2, 1, 3]]), full).tolist() == [(1 + 4 + 0 + 4) / 4]
    for text in ("", "3", "depth:3", "vertical:x", "vertical:1 2 3", "vertical:-1", "vertical:nan"):
        with pytest.raises(ValueError, match="note_density got"):
            rule.parse(text, 32)


@pytest.mark.parametrize("options", [{"horizontal_scale": 0}, {"starts": "both"}, {"window": 1.5}])
def test_density_options_are_checked(options):
    with pytest.raises(ValueError, match=f"note_density got {next(iter(options))}="):
        NoteDensity(**options)


def test_names():
    assert [midi_note(name) for name in ("A0", "C4", "Bb3", "c#4", "C8", "60")] == [
        21, 60, 58, 61, 108, 60,
    ]  # fmt: skip
    assert all(midi_note(note_name(note)) == note for note in range(21, 109))
    assert [pitch_class(name) for name in ("Cb", "B#", "F#", "bb")] == [11, 0, 6, 10]
    assert scale("d  Harmonic minor") == (2, "harmonic minor")
    assert [key_index(key) for key in ("C major", "A minor")] == [0, 21]
    for call, text in (
        (midi_note, "C9"), (midi_note, "20"), (midi_note, "H4"), (pitch_class, "C4"),
        (scale, "C"), (scale, "C happy"), (key_index, "C dorian"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="; give"):
            call(text)


@pytest.fixture(scope="module")
def oracle(shared):
    return np.load(shared / "oracle" / "music_rules.npz")


def oracle_rolls(oracle, every: int = 1) -> Rolls:
    """The 38 rolls of the oracle; it has no onset channel, so notes start after silence."""
    velocity = oracle["rolls"][:, 21:109, ::every].transpose(0, 2, 1)
    sounds = np.pad(velocity > 0, ((0, 0), (1, 0), (0, 0)))
    onset = torch.from_numpy(sounds[:, 1:] & ~sounds[:, :-1])
    return Rolls(torch.from_numpy(velocity.astype(np.float32)) / 127, onset)


def test_histogram_equals_the_original(oracle):
    expected = torch.from_numpy(oracle["pitch_hist"])
    histogram = PitchHistogram().measure(oracle_rolls(oracle))
    torch.testing.assert_close(histogram, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("array", "every", "options"),
    [
        ("note_density", 1, {"window": 128}),
        ("note_density_hr1", 1, {"window": 128, "horizontal_scale": 1}),
        ("note_density_hr2", 1, {"window": 128, "horizontal_scale": 2}),
        ("note_density_q4", 4, {"window": 32}),
        ("note_density_pixel", 8, {"window": 16}),
    ],
)
def test_density_equals_the_original(oracle, array, every, options):
    expected = torch.from_numpy(oracle[array])
    rolls = oracle_rolls(oracle, every)
    density = NoteDensity(starts="sustain", **options).measure(rolls)
    torch.testing.assert_close(density, expected, atol=1e-6, rtol=0)
