"""Rolls: notes to arrays and back, transposition, batches, MIDI."""

import mido
import numpy as np
import pretty_midi
import pytest
import torch

from domains.music.midi import read_midi
from domains.music.roll import Grid, Notes, Roll, Rolls


def notes(*rows):
    return Notes(*np.array(rows, np.int64).reshape(-1, 4).T)


def random_roll(seed, columns=64, grid=Grid(), tempo=120.0, density=0.03):
    """Draw a valid roll with held, repeated and short notes: every note starts at an onset."""
    rng = np.random.default_rng(seed)
    velocity, onset = np.zeros((columns, 88), np.uint8), np.zeros((columns, 88), bool)
    for start, row in zip(*np.nonzero(rng.random((columns, 88)) < density), strict=True):
        end = min(columns, start + 1 + int(rng.integers(12)))
        velocity[start:, row] = 0  # cut the note before
        onset[start:, row] = False
        velocity[start:end, row], onset[start, row] = rng.integers(1, 128), True
    return Roll(velocity, onset, grid, tempo)


def naive_notes(roll):
    """Read the notes cell by cell."""
    found = []
    for row in range(88):
        begin = None
        for column in range(roll.columns + 1):
            sounds = column < roll.columns and roll.velocity[column, row] > 0
            struck = sounds and (roll.onset[column, row] or column == 0)
            if begin is not None and (not sounds or struck):
                found.append((begin, column, row + 21, roll.velocity[begin, row]))
                begin = None
            if struck:
                begin = column
    return sorted(found, key=lambda note: (note[0], note[2]))


@pytest.mark.parametrize("seed", range(5))
def test_notes_agree_with_a_reading_cell_by_cell(seed):
    rng = np.random.default_rng(seed)
    velocity = (rng.integers(1, 128, (40, 88)) * (rng.random((40, 88)) < 0.6)).astype(np.uint8)
    roll = Roll(velocity, rng.random((40, 88)) < 0.3)  # any arrays, valid or not
    assert [tuple(map(int, note)) for note in zip(*roll.notes(), strict=True)] == naive_notes(roll)


@pytest.mark.parametrize("seed", range(5))
def test_a_valid_roll_is_redrawn_from_its_notes(seed):
    roll = random_roll(seed)
    again = Roll.from_notes(roll.notes(), roll.columns)
    np.testing.assert_array_equal(again.velocity, roll.velocity)
    np.testing.assert_array_equal(again.onset, roll.onset)


def test_a_new_onset_splits_a_note_and_keeps_the_last_end():
    roll = Roll.from_notes(notes((0, 8, 60, 50), (4, 6, 60, 90)), 10)
    assert roll.velocity[:, 39].tolist() == [50] * 4 + [90] * 4 + [0] * 2
    assert np.flatnonzero(roll.onset[:, 39]).tolist() == [0, 4]


def test_voices_in_unison_take_the_louder_velocity_not_the_sum():
    roll = Roll.from_notes(notes((0, 2, 60, 100), (0, 4, 60, 120)), 4)
    assert roll.velocity[:, 39].tolist() == [120] * 4
    assert roll.onset.sum() == 1


def test_a_repeat_is_told_from_a_held_note_by_its_onset():
    repeated = Roll.from_notes(notes((0, 2, 60, 80), (2, 4, 60, 80)), 4)
    held = Roll.from_notes(notes((0, 4, 60, 80)), 4)
    np.testing.assert_array_equal(repeated.velocity, held.velocity)
    assert (len(repeated.notes().start), len(held.notes().start)) == (2, 1)


def test_notes_off_the_piano_or_the_roll_are_left_out_and_long_ones_cut():
    roll = Roll.from_notes(notes((0, 2, 20, 80), (0, 2, 109, 80), (4, 6, 60, 80), (3, 9, 21, 7)), 4)
    assert [tuple(map(int, note)) for note in zip(*roll.notes(), strict=True)] == [(3, 4, 21, 7)]


def test_empty_rolls_hold_no_notes():
    for columns in (0, 5):
        roll = Roll(np.zeros((columns, 88), np.uint8), np.zeros((columns, 88), bool))
        assert len(roll.notes().start) == 0
        assert roll.to_midi().instruments[0].notes == []


def test_transpose_moves_rows_and_drops_what_leaves_the_piano():
    roll = Roll.from_notes(notes((0, 2, 107, 80), (1, 3, 22, 60)), 4)
    up, down = roll.transpose(3).notes(), roll.transpose(-1).notes()
    assert (up.pitch.tolist(), up.start.tolist(), up.velocity.tolist()) == ([25], [1], [60])
    assert down.pitch.tolist() == [106, 21]
    assert roll.notes().pitch.tolist() == [107, 22]  # the roll itself is untouched


def test_a_window_is_a_slice():
    roll = random_roll(0)
    np.testing.assert_array_equal(roll.window(16, 8).velocity, roll.velocity[16:24])
    np.testing.assert_array_equal(roll.window(16, 8).onset, roll.onset[16:24])
    with pytest.raises(ValueError, match="a window of 8 columns at 60 is not inside a roll of 64"):
        roll.window(60, 8)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("grid", "tempo"),
    [
        (Grid(), 120.0),
        (Grid(), 87.3),
        (Grid(), 300.0),
        (Grid(columns_per_beat=6, beats_per_bar=3), 97.0),
        (Grid(columns_per_beat=7), 61.7),
        (Grid(fs=12.5), 133.3),
        (Grid(fs=100.0), 120.0),
        (Grid(fs=1000.0), 40.0),
    ],
)
def test_a_roll_survives_midi(tmp_path, seed, grid, tempo):
    roll = random_roll(seed, 64, grid, tempo)
    roll.to_midi(tmp_path / "a.mid")
    again = read_midi(tmp_path / "a.mid", grid, columns=64)
    np.testing.assert_array_equal(again.velocity, roll.velocity)
    np.testing.assert_array_equal(again.onset, roll.onset)
    assert again.grid == grid
    assert again.tempo == pytest.approx(tempo, rel=1e-5)


@pytest.mark.parametrize("grid", [Grid(), Grid(fs=100.0), Grid(fs=12.5)])
def test_the_grid_does_not_drift_in_a_long_roll(tmp_path, grid):
    columns, tempo = 90_000, 301.7  # a tempo that is no whole number of microseconds
    last = notes((0, 1, 60, 80), (columns - 2, columns, 62, 80))
    Roll.from_notes(last, columns, grid, tempo).to_midi(tmp_path / "a.mid")
    again = read_midi(tmp_path / "a.mid", grid, columns=columns).notes()
    assert (again.start[-1], again.end[-1]) == (columns - 2, columns)
    if grid.fs is not None:  # the times pretty_midi reads are those of the grid
        written = pretty_midi.PrettyMIDI(str(tmp_path / "a.mid")).instruments[0].notes[-1]
        assert written.start == pytest.approx((columns - 2) / grid.fs, abs=0.1 / grid.fs)


def test_to_midi_writes_velocity_pitch_time_metre_and_tempo(tmp_path):
    roll = Roll.from_notes(notes((4, 6, 60, 33)), 12, Grid(beats_per_bar=3), 90.0)
    midi = roll.to_midi(tmp_path / "a.mid")
    assert isinstance(midi, pretty_midi.PrettyMIDI)
    for source in (midi, pretty_midi.PrettyMIDI(str(tmp_path / "a.mid"))):
        (note,) = source.instruments[0].notes
        assert (note.pitch, note.velocity) == (60, 33)
        assert note.start == pytest.approx(60 / 90, abs=1e-4)
        assert note.end == pytest.approx(90 / 90, abs=1e-4)
        assert source.time_signature_changes[0].numerator == 3
    tempos = [m.tempo for m in mido.MidiFile(tmp_path / "a.mid").tracks[0] if m.type == "set_tempo"]
    assert tempos == [666667]


def test_stacked_rolls_are_scaled_and_come_back():
    rolls = [random_roll(seed) for seed in range(3)]
    batch = Rolls.stack(rolls)
    assert batch.velocity.shape == (3, 64, 88)
    assert batch.columns_per_bar == 16
    assert batch.velocity.max() <= 1
    expected = torch.tensor(rolls[1].velocity.astype(np.float32) / 127)
    torch.testing.assert_close(batch.velocity[1], expected)
    for roll, again in zip(rolls, batch.rolls(), strict=True):
        np.testing.assert_array_equal(again.velocity, roll.velocity)
        np.testing.assert_array_equal(again.onset, roll.onset)


def test_one_roll_stacks_as_in_a_batch():
    rolls = [random_roll(seed) for seed in range(64)]
    for index in (0, 63):
        alone, batch = Rolls.stack(rolls[index : index + 1]), Rolls.stack(rolls)
        assert torch.equal(alone.velocity[0], batch.velocity[index])
        assert torch.equal(alone.onset[0], batch.onset[index])


def test_stacking_copies():
    roll = random_roll(0)
    before = roll.onset.copy()
    Rolls.stack([roll]).onset.logical_not_()
    np.testing.assert_array_equal(roll.onset, before)


def test_velocities_outside_0_to_1_are_clamped_on_the_way_back():
    velocity = torch.zeros(1, 4, 88)
    velocity[0, 0, 0], velocity[0, 1, 0] = 1.4, -0.2
    (roll,) = Rolls(velocity, torch.zeros(1, 4, 88, dtype=torch.bool)).rolls()
    assert roll.velocity[:2, 0].tolist() == [127, 0]


def test_a_bar_of_a_fixed_rate_grid_is_two_seconds():
    assert Grid(fs=12.5).columns_per_bar == 25
    assert Grid(fs=0.1).columns_per_bar == 1
    assert Grid(3, 5).columns_per_bar == 15


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Grid(0), "columns_per_beat is 0; give a whole number of 1 or more"),
        (lambda: Grid(4, 2.5), "beats_per_bar is 2.5"),
        (lambda: Grid(fs=-1), "fs is -1; give columns per second > 0"),
        (lambda: Roll(np.zeros((4, 88)), np.zeros((4, 88), bool)), "give uint8 of shape"),
        (lambda: Roll(np.zeros((4, 88), np.uint8), np.zeros((4, 128), bool)), r"\(4, 128\)"),
        (lambda: Roll(np.zeros((4, 88), np.uint8), np.zeros((5, 88), bool)), "4 columns and .* 5"),
        (
            lambda: Roll(np.full((4, 88), 128, np.uint8), np.zeros((4, 88), bool)),
            "reaches 128; MIDI stops at 127",
        ),
        (
            lambda: Roll(np.zeros((4, 88), np.uint8), np.zeros((4, 88), bool), tempo=0.0),
            "tempo is 0.0 beats a minute; give 3.6 or more",
        ),
        (lambda: Roll.from_notes(notes((0, 1, 60, 0)), 4), "velocity 0 to 0; give 1 to 127"),
        (lambda: Roll.from_notes(notes((0, 1, 60, 300)), 4), "velocity 300 to 300"),
        (lambda: Rolls.stack([]), "give at least one roll"),
        (lambda: Rolls.stack([random_roll(0, 8), random_roll(0, 9)]), "all of one kind"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
