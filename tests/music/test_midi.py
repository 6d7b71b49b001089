"""MIDI files: grids, metres and tempos, what is kept, and files that cannot be read."""

import tarfile
from itertools import islice
from math import floor

import mido
import numpy as np
import pretty_midi
import pytest

from domains.music.midi import MAX_BYTES, MidiError, read_midi
from domains.music.roll import Grid

TPQ = 480


def write(path, notes, *, metres=(), tempos=(), channel=0, tpq=TPQ):
    """Write notes (start tick, end tick, pitch, velocity), metres and tempos (tick, value)."""
    events = []
    for start, end, pitch, velocity in notes:
        on = mido.Message("note_on", note=pitch, velocity=velocity, channel=channel)
        off = mido.Message("note_off", note=pitch, channel=channel)
        events += [(start, 1, on), (end, 0, off)]
    for tick, (above, below) in metres:
        sign = mido.MetaMessage("time_signature", numerator=above, denominator=below)
        events.append((tick, -1, sign))
    for tick, bpm in tempos:
        events.append((tick, -1, mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(bpm))))
    events.sort(key=lambda event: event[:2])
    file, track, now = mido.MidiFile(ticks_per_beat=tpq), mido.MidiTrack(), 0
    for tick, _, message in events:
        track.append(message.copy(time=tick - now))
        now = tick
    file.tracks.append(track)
    file.save(path)
    return path


@pytest.fixture
def file(tmp_path):
    return tmp_path / "song.mid"


def rows(roll):
    return [tuple(map(int, note)) for note in zip(*roll.notes(), strict=True)]


def test_ticks_fall_on_columns_and_velocity_is_kept(file):
    write(file, [(0, 240, 60, 64), (TPQ, 2 * TPQ, 64, 1), (1920, 2040, 21, 127)])
    roll = read_midi(file)
    assert rows(roll) == [(0, 2, 60, 64), (4, 8, 64, 1), (16, 17, 21, 127)]
    assert roll.columns == 32  # whole bars


def test_times_round_to_the_nearest_column_and_a_note_lasts_one(file):
    write(file, [(59, 130, 60, 9), (60, 62, 62, 9), (181, 419, 64, 9), (181, 421, 65, 9)])
    assert rows(read_midi(file)) == [(0, 1, 60, 9), (1, 2, 62, 9), (2, 3, 64, 9), (2, 4, 65, 9)]


def test_the_tempo_map_moves_seconds_but_not_beats(file):
    notes = [(0, TPQ, 60, 80), (2 * TPQ, 3 * TPQ, 62, 80)]
    write(file, notes, tempos=[(0, 120), (TPQ, 60)])
    beats = read_midi(file, Grid())
    assert beats.notes().start.tolist() == [0, 8]
    seconds = read_midi(file, Grid(fs=10.0)).notes()
    assert seconds.start.tolist() == [0, 15]  # one beat of 0.5 s, one of 1 s
    assert seconds.end.tolist() == [5, 25]
    assert beats.tempo == pytest.approx(3 / 2.5 * 60)  # 3 beats in 2.5 s


@pytest.mark.parametrize("bpm", [20, 300])
def test_slow_and_fast_tempos_work(file, bpm):
    write(file, [(0, TPQ, 60, 80), (4 * TPQ, 5 * TPQ, 62, 80)], tempos=[(0, bpm)])
    assert read_midi(file).notes().start.tolist() == [0, 16]
    assert read_midi(file).tempo == pytest.approx(bpm, rel=1e-5)
    assert read_midi(file, Grid(fs=100.0)).notes().start.tolist() == [0, 24000 // bpm]


@pytest.mark.parametrize(("metre", "bar"), [((3, 4), 12), ((6, 8), 12), ((2, 2), 16), ((5, 4), 20)])
def test_bars_follow_the_metre_of_the_file(file, metre, bar):
    write(file, [(0, TPQ, 60, 80)], metres=[(0, metre)])
    roll = read_midi(file)
    assert roll.grid.columns_per_bar == roll.columns == bar
    assert read_midi(file, Grid()).columns == 16  # a grid that is given counts


@pytest.mark.parametrize(
    ("metres", "names"),
    [([(0, (7, 8))], "7/8"), ([(0, (4, 4)), (1920, (3, 4))], "3/4, 4/4")],
)
def test_odd_or_changing_metres_need_a_grid(file, metres, names):
    write(file, [(0, 4 * TPQ, 60, 80)], metres=metres)
    with pytest.raises(MidiError, match=f"{names}; give a grid"):
        read_midi(file)
    assert rows(read_midi(file, Grid())) == [(0, 16, 60, 80)]


def test_tracks_are_joined_without_drums_and_repeats_split(file):
    midi = pretty_midi.PrettyMIDI(initial_tempo=120)
    for program, is_drum, start, end, velocity in [
        (0, False, 0.0, 1.0, 50),
        (40, False, 0.5, 0.75, 90),
        (0, True, 0.25, 0.3, 120),
    ]:
        track = pretty_midi.Instrument(program, is_drum)
        track.notes.append(pretty_midi.Note(velocity, 60, start, end))
        midi.instruments.append(track)
    midi.write(str(file))
    assert rows(read_midi(file)) == [(0, 4, 60, 50), (4, 8, 60, 90)]


def test_length_can_be_set(file):
    write(file, [(0, 1920, 60, 80)])
    assert rows(read_midi(file, columns=10)) == [(0, 10, 60, 80)]
    assert read_midi(file, columns=100).columns == 100
    with pytest.raises(MidiError, match="would have 0 columns"):
        read_midi(file, columns=0)


@pytest.fixture(scope="module")
def songs(shared):
    """The first MIDI files of POP909."""
    with tarfile.open(shared / "data" / "pop909.tar.xz") as archive:
        members = (member for member in archive if member.name.endswith(".mid"))
        return [archive.extractfile(member).read() for member in islice(members, 8)]


def drawn(notes, shape):
    """Draw notes (start, end, pitch) in columns one by one: where pitches sound and start."""
    sounding, onset = np.zeros(shape, bool), np.zeros(shape, bool)
    for start, end, pitch in notes:
        first = floor(start + 0.5)
        sounding[first : max(floor(end + 0.5), first + 1), pitch - 21] = True
        onset[first, pitch - 21] = True
    return sounding, onset


def test_songs_are_read_as_by_pretty_midi(file, songs):
    for data in songs:
        file.write_bytes(data)
        midi = pretty_midi.PrettyMIDI(str(file))
        notes = [note for track in midi.instruments for note in track.notes]

        roll = read_midi(file, Grid())
        tick = midi.time_to_tick
        column = midi.resolution / 4
        beats = [(tick(n.start) / column, tick(n.end) / column, n.pitch) for n in notes]
        sounding, onset = drawn(beats, roll.onset.shape)
        np.testing.assert_array_equal(roll.velocity > 0, sounding)
        np.testing.assert_array_equal(roll.onset, onset)

        roll = read_midi(file, Grid(fs=50.0))
        seconds = [(50 * n.start, 50 * n.end, n.pitch) for n in notes]
        sounding, onset = drawn(seconds, roll.onset.shape)
        # the two readers may round a time halfway between columns to either side
        assert ((roll.velocity > 0) != sounding).sum() <= 0.005 * sounding.sum()
        assert (roll.onset != onset).sum() <= 0.005 * onset.sum()


def test_songs_survive_midi_to_roll_to_midi(file, songs):
    counts = []
    for data in songs:
        file.write_bytes(data)
        before = starts(pretty_midi.PrettyMIDI(str(file)))
        roll = read_midi(file, Grid(columns_per_beat=8))
        after = starts(roll.to_midi(file))
        counts.append((len(before), len(after)))
        columns = {(floor(beat * 8 + 0.5), pitch) for beat, pitch in before}
        assert columns == {(round(beat * 8), pitch) for beat, pitch in after}

        again = read_midi(file, roll.grid, columns=roll.columns)
        np.testing.assert_array_equal(again.onset, roll.onset)
        np.testing.assert_array_equal(again.velocity, roll.velocity)
    before, after = np.sum(counts, axis=0)
    assert after >= 0.99 * before  # the rest: two tracks that strike a key almost together


def starts(midi):
    """List where notes start, in beats, with their pitch; tracks in unison count once."""
    notes = [note for track in midi.instruments for note in track.notes]
    return {(midi.time_to_tick(note.start) / midi.resolution, note.pitch) for note in notes}


def damage_header(data):
    return b"RIFF" + data[4:]


def smpte(data):
    return data[:12] + bytes([0xE7, 0x28]) + data[14:]


def zero_tempo(data):
    return data.replace(b"\xff\x51\x03\x07\xa1\x20", b"\xff\x51\x03\x00\x00\x00")


def zero_metre(data):
    return data.replace(b"\xff\x58\x04\x04", b"\xff\x58\x04\x00")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: b"", "no MIDI file"),
        (lambda data: b"hello " * 10, "no MIDI file"),
        (damage_header, "no MIDI file"),
        (lambda data: data[: len(data) // 2], "damaged"),
        (smpte, "SMPTE"),
        (zero_tempo, "tempos is 0"),
        (zero_metre, "time signatures has a zero"),
    ],
)
def test_damaged_files_are_named(file, change, message):
    write(file, [(0, TPQ, 60, 80)] * 20, tempos=[(0, 120)], metres=[(0, (4, 4))])
    assert change(file.read_bytes()) != file.read_bytes()
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(MidiError, match=message) as error:
        read_midi(file)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


def test_files_without_piano_notes_are_named(file):
    write(file, [])
    with pytest.raises(MidiError, match="no notes"):
        read_midi(file)
    write(file, [(0, TPQ, 36, 80), (TPQ, 2 * TPQ, 38, 80)], channel=9)
    with pytest.raises(MidiError, match=r"only drums \(2 notes\)"):
        read_midi(file)
    write(file, [(0, TPQ, 12, 80)])
    with pytest.raises(MidiError, match="none of its 1 notes is on the piano"):
        read_midi(file)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MidiError, match=r"none\.mid: there is no such file"):
        read_midi(tmp_path / "none.mid")


def test_four_hours_are_too_long_unless_the_limit_is_raised(file):
    beats = 4 * 3600 * 2  # 4 hours at 120 bpm
    write(file, [(0, TPQ, 60, 80), ((beats - 1) * TPQ, beats * TPQ, 62, 80)])
    with pytest.raises(MidiError, match=r"115200 columns \(7200 bars\); 1 to 100000 columns"):
        read_midi(file)
    assert read_midi(file, limit=120_000).columns == 115_200


def test_a_small_file_with_a_huge_tick_allocates_nothing(file):
    write(file, [(0, 1, 60, 80), (2**28 - 10, 2**28 - 5, 62, 80)], tpq=1)
    with pytest.raises(MidiError, match="1073741808 columns"):
        read_midi(file)
    with pytest.raises(MidiError, match="columns are allowed"):
        read_midi(file, Grid(fs=100.0))


def test_ticks_that_wrap_around_are_found(file):
    step = 2**28 - 1  # the longest wait of one event; 9 of them pass 2^31
    track = mido.MidiTrack(
        mido.Message("note_on", note=50, velocity=0, time=step) for _ in range(9)
    )
    track += [mido.Message("note_on", note=60), mido.Message("note_off", note=60, time=9)]
    midi = mido.MidiFile(ticks_per_beat=TPQ)
    midi.tracks.append(track)
    midi.save(file)
    with pytest.raises(MidiError, match="largest tick"):
        read_midi(file)


def test_a_file_of_too_many_bytes_is_not_read(file):
    with file.open("wb") as stream:
        stream.truncate(MAX_BYTES + 1)
    with pytest.raises(MidiError, match="16777217 bytes; at most 16777216"):
        read_midi(file)
