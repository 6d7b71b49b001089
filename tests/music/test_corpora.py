"""Corpora: POP909 on its beats, chorales, folders of MIDI, clips on bar lines, the cache."""

import io
import tarfile
from math import ceil

import music21
import numpy as np
import pretty_midi
import pytest

from domains.music.data.build import Build, build, summary
from domains.music.data.chorales import chorales
from domains.music.data.corpus import Chord, Corpus
from domains.music.data.folder import folder
from domains.music.data.pop909 import Beats, pop909
from domains.music.roll import Grid


def midi(notes, tempo=120.0, is_drum=False):
    """Build a MIDI file of notes (start, end, pitch, velocity) in seconds."""
    file = pretty_midi.PrettyMIDI(initial_tempo=tempo, resolution=960)
    track = pretty_midi.Instrument(0, is_drum)
    track.notes += [pretty_midi.Note(v, p, a, b) for a, b, p, v in notes]
    file.instruments.append(track)
    return file


def midi_bytes(notes, **options):
    stream = io.BytesIO()
    midi(notes, **options).write(stream)
    return stream.getvalue()


def beat_text(times, first):
    """Write beat_midi.txt: bars of two beats are marked as well, as in POP909."""
    lines = [
        f"{t} {float(i % 2 == 0)} {float(f)}"
        for i, (t, f) in enumerate(zip(times, first, strict=True))
    ]
    return "\n".join(lines).encode()


def song(times, first, notes, chords=b"", keys=b""):
    files = {".mid": midi_bytes(notes), "beat_midi.txt": beat_text(times, first)}
    return files | {"chord_midi.txt": chords, "key_audio.txt": keys}


def write_pop909(root, songs):
    for name, files in songs.items():
        (root / name).mkdir(parents=True)
        for file, data in files.items():
            (root / name / (f"{name}.mid" if file == ".mid" else file)).write_bytes(data)
    return root


TIMES = np.cumsum([0.3, *[0.5] * 6, *[0.7] * 6])  # 13 beats that slow down
UPBEAT = np.arange(13) % 4 == 1  # beat 0 is an upbeat


def beat_time(beat):
    return float(np.interp(beat, np.arange(13), TIMES))


def on_beats(*notes):
    return [(beat_time(a), beat_time(b), pitch, 80) for a, b, pitch in notes]


@pytest.fixture
def simple_song():
    notes = on_beats((0, 1, 60), (1, 3, 62), (5.25, 5.5, 64), (8, 8.1, 65), (9, 12, 67))
    chords = f"{beat_time(1)} {beat_time(5)} C:maj\n{beat_time(5)} {beat_time(9)} G:7/b7\n"
    return song(TIMES, UPBEAT, notes, chords.encode(), b"0 9 C:maj\n9 99 Gb:min\n")


def rows(roll):
    return [tuple(map(int, note)) for note in zip(*roll.notes(), strict=True)]


def assert_same(a, b):
    for name in vars(a):
        np.testing.assert_equal(getattr(a, name), getattr(b, name))


class TestPop909:
    def test_notes_lie_on_the_true_beats_from_a_bar_line(self, tmp_path, simple_song):
        corpus = pop909(write_pop909(tmp_path / "in", {"007": simple_song}), tmp_path)
        roll = corpus[0]
        # beat 1 is the bar line at column 16: column 0 lies one bar before it
        assert rows(roll) == [
            (12, 16, 60, 80),
            (16, 24, 62, 80),
            (33, 34, 64, 80),
            (44, 45, 65, 80),
            (48, 60, 67, 80),
        ]
        assert np.flatnonzero(corpus.downbeat).tolist() == [0, 16, 32, 48]
        assert roll.columns == 64
        assert corpus.chords[0] == (Chord(16, 32, "C:maj"), Chord(32, 48, "G:7/b7"))
        assert corpus.keys[0] == "Gb:min"
        assert corpus.tempo[0] == pytest.approx(60 / 0.6)  # six steps of 0.5 and six of 0.7 s
        assert corpus.names[0] == "007"

    def test_beats_go_on_past_both_ends(self):
        beats = Beats(TIMES, UPBEAT)
        first, last = TIMES[0] - 1.5, TIMES[-1] + 1.4
        np.testing.assert_allclose(beats.position(np.array([first, last])), [-3, 14])

    def test_a_note_before_the_first_beat_adds_whole_bars(self, tmp_path):
        times = 4 + 0.5 * np.arange(9)
        files = song(times, np.arange(9) % 4 == 0, [(0.5, 1.0, 60, 80)])
        corpus = pop909(write_pop909(tmp_path / "in", {"001": files}), tmp_path)
        assert rows(corpus[0]) == [(4, 8, 60, 80)]  # 7 beats before beat 0: 2 bars before
        assert np.flatnonzero(corpus.downbeat).tolist() == [0, 16, 32, 48, 64]

    def test_an_archive_reads_as_its_folder(self, tmp_path, simple_song):
        root = write_pop909(tmp_path / "POP909", {"007": simple_song, "008": simple_song})
        (root / "007" / "versions").mkdir()
        (root / "007" / "versions" / "007-v1.mid").write_bytes(b"not read")
        with tarfile.open(tmp_path / "pop.tar.xz", "w:xz") as archive:
            archive.add(root, "POP909")
        from_folder = pop909(root, tmp_path / "a")
        from_archive = pop909(tmp_path / "pop.tar.xz", tmp_path / "b")
        assert_same(from_folder, from_archive)
        assert len(from_folder) == 2

    def test_songs_that_cannot_be_used_are_reported(self, tmp_path, simple_song):
        waltz = song(TIMES, np.arange(13) % 3 == 0, on_beats((0, 1, 60)))
        songs = {
            "001": simple_song,
            "002": waltz,
            "003": simple_song | {".mid": b"no MIDI"},
            "004": simple_song | {"beat_midi.txt": b"one two"},
            "005": simple_song | {"beat_midi.txt": beat_text(TIMES[::-1], UPBEAT)},
            "006": {".mid": simple_song[".mid"]},
            "007": simple_song | {"chord_midi.txt": b"0.5 1.5"},
            "008": simple_song | {"beat_midi.txt": beat_text(TIMES * 1e-5, UPBEAT)},
        }
        corpus = pop909(write_pop909(tmp_path / "in", songs), tmp_path)
        assert corpus.names.tolist() == ["001"]
        reasons = dict(corpus.skipped)
        for name, reason in {
            "002": "only 0% of its bars have 4 beats",
            "003": "no MIDI file",
            "004": "beat_midi.txt is damaged",
            "005": "not a rising table",
            "006": "beat_midi.txt is missing",
            "007": "chord_midi.txt is damaged",
            "008": "at most 100000",
        }.items():
            assert reason in reasons[name]

    @pytest.mark.parametrize("grid", [Grid(fs=12.5), Grid(4, 3)])
    def test_another_grid_is_refused(self, tmp_path, grid):
        with pytest.raises(ValueError, match="bars of 4 beats"):
            pop909(tmp_path, tmp_path, grid)

    def test_a_wrong_path_is_named(self, tmp_path):
        with pytest.raises(ValueError, match="neither a folder nor a tar archive"):
            pop909(tmp_path / "none", tmp_path)
        (tmp_path / "empty").mkdir()
        with pytest.raises(ValueError, match="no piece of pop909 can be used"):
            pop909(tmp_path / "empty", tmp_path)

    @pytest.mark.slow
    def test_chords_change_on_bar_lines(self, shared, tmp_path):
        corpus = pop909(shared / "data" / "pop909.tar.xz", tmp_path)
        assert (len(corpus), len(corpus.skipped)) == (880, 29)
        counts = np.zeros(16)
        for index, chords in enumerate(corpus.chords):
            span = slice(corpus.offsets[index], corpus.offsets[index + 1])
            lines = np.flatnonzero(corpus.downbeat[span])
            starts = np.array([chord.start for chord in chords if chord.label != "N"])
            phase = starts - lines[np.searchsorted(lines, starts, "right") - 1]
            own = np.bincount(phase[phase < 16], minlength=16)
            assert own[0] >= own[8]  # in no song is the third beat stronger than the first
            counts += own
        assert counts[0] / counts.sum() > 0.6
        assert counts[[0, 4, 8, 12]].sum() == counts.sum()


@pytest.fixture(scope="module")
def bach(tmp_path_factory):
    return chorales(tmp_path_factory.mktemp("cache"), limit=12)


class TestChorales:
    def test_an_upbeat_ends_the_first_bar(self, bach):
        """BWV 101.7 starts with a chord of D minor on beat 4, before the first bar line."""
        (index,) = np.flatnonzero(bach.names == "bach/bwv101.7")
        notes = bach[index].notes()
        chord = notes.start == notes.start.min()
        assert notes.start.min() == 12
        assert notes.pitch[chord].tolist() == [50, 62, 65, 69]
        assert set(notes.velocity.tolist()) == {80}

    def test_the_roll_equals_the_score(self, bach):
        (index,) = np.flatnonzero(bach.names == "bach/bwv101.7")
        score = music21.corpus.parse("bach/bwv101.7")
        expected = np.zeros_like(bach[index].onset)
        for part in score.parts:
            for bar in part.getElementsByClass("Measure"):
                for note in bar.notes:
                    if note.tie is None or note.tie.type == "start":
                        column = int(4 * (bar.offset + note.offset + 3))
                        expected[column, note.pitch.midi - 21] = True
        np.testing.assert_array_equal(bach[index].onset, expected)
        assert bach.downbeat[:64].nonzero()[0].tolist() == [0, 16, 32, 48]

    def test_other_metres_are_reported(self, bach):
        assert len(bach) + len(bach.skipped) == 12
        assert dict(bach.skipped)["bach/bwv11.6"] == "its metre is 3/4, not 4/4"

    def test_another_grid_is_refused(self, tmp_path):
        with pytest.raises(ValueError, match="bars of 4 beats"):
            chorales(tmp_path, Grid(fs=10.0))


class TestFolder:
    def test_files_at_any_depth_are_read_and_bad_ones_reported(self, tmp_path):
        root = tmp_path / "songs"
        (root / "deep" / "er").mkdir(parents=True)
        midi([(0, 0.5, 60, 99)]).write(str(root / "a.mid"))
        midi([(0.5, 1, 62, 33)]).write(str(root / "deep" / "er" / "b.MIDI"))
        midi([(0, 1, 36, 99)], is_drum=True).write(str(root / "drums.mid"))
        (root / "broken.mid").write_bytes((root / "a.mid").read_bytes()[:40])
        (root / "notes.txt").write_text("no music")
        waltz = midi([(0, 1, 60, 99)])
        waltz.time_signature_changes.append(pretty_midi.TimeSignature(3, 4, 0))
        waltz.write(str(root / "waltz.mid"))
        corpus = folder(root, tmp_path / "cache")
        assert corpus.names.tolist() == ["a.mid", "deep/er/b.MIDI"]
        assert corpus.sources == ("songs",)
        assert [rows(corpus[i]) for i in (0, 1)] == [[(0, 4, 60, 99)], [(4, 8, 62, 33)]]
        reasons = dict(corpus.skipped)
        assert set(reasons) == {"drums.mid", "broken.mid", "waltz.mid"}
        assert "only drums" in reasons["drums.mid"]
        assert "damaged" in reasons["broken.mid"]
        assert reasons["waltz.mid"] == "its bars have 3 beats, those of the grid 4"
        assert folder(root, tmp_path / "cache", Grid(4, 3)).names.tolist() == ["waltz.mid"]

    def test_a_recorded_performance_is_read_in_seconds(self, tmp_path):
        """As in MAESTRO: one piano, pedal, no beats, 384 ticks a quarter at 120 bpm."""
        performance = pretty_midi.PrettyMIDI(resolution=384, initial_tempo=120)
        piano = pretty_midi.Instrument(0)
        notes = [(1.01, 1.13, 60, 71), (1.37, 4.42, 67, 20), (2.0, 2.03, 67, 64)]
        piano.notes += [pretty_midi.Note(v, p, a, b) for a, b, p, v in notes]
        piano.control_changes += [
            pretty_midi.ControlChange(64, v, v / 30) for v in range(0, 127, 9)
        ]
        performance.instruments.append(piano)
        (tmp_path / "maestro" / "2004").mkdir(parents=True)
        performance.write(str(tmp_path / "maestro" / "2004" / "a.midi"))
        corpus = folder(tmp_path / "maestro", tmp_path / "cache", Grid(fs=12.5))
        # 1.01 * 12.5 = 12.6; the repeat at 2 s = column 25 cuts the note before; the end is 4.42 s
        assert rows(corpus[0]) == [(13, 14, 60, 71), (17, 25, 67, 20), (25, 55, 67, 64)]
        assert np.flatnonzero(corpus.downbeat).tolist() == list(range(0, ceil(55 / 25) * 25, 25))

    def test_nothing_to_read_is_named(self, tmp_path):
        with pytest.raises(ValueError, match="none is not a folder"):
            folder(tmp_path / "none", tmp_path)
        with pytest.raises(ValueError, match=r"holds no file that ends in \.mid or \.midi"):
            folder(tmp_path, tmp_path / "cache")
        (tmp_path / "bad.mid").write_bytes(b"x")
        with pytest.raises(ValueError, match=r"first reasons: bad\.mid: this is no MIDI file"):
            folder(tmp_path, tmp_path / "cache")

    def test_a_limit_skips_long_pieces(self, tmp_path):
        midi([(0, 1, 60, 80)]).write(str(tmp_path / "short.mid"))
        midi([(99, 100, 60, 80)]).write(str(tmp_path / "long.mid"))
        corpus = folder(tmp_path, tmp_path / "cache", limit=160)
        assert corpus.names.tolist() == ["short.mid"]
        assert "800 columns" in dict(corpus.skipped)["long.mid"]

    def test_the_cache_serves_the_same_files_only(self, tmp_path, monkeypatch):
        midi([(0, 1, 60, 80)]).write(str(tmp_path / "a.mid"))
        first = folder(tmp_path, tmp_path / "cache")
        with monkeypatch.context() as patch:  # a second reading of the files would fail
            patch.setattr("domains.music.data.folder._piece", None)
            assert_same(folder(tmp_path, tmp_path / "cache"), first)
        finer = folder(tmp_path, tmp_path / "cache", Grid(8))
        assert finer[0].notes().end.tolist() == [16]
        midi([(0, 1, 61, 80)]).write(str(tmp_path / "a.mid"))
        assert folder(tmp_path, tmp_path / "cache")[0].notes().pitch.tolist() == [61]
        assert len(list((tmp_path / "cache").iterdir())) == 3  # and no temporary file


def test_the_build_command_joins_and_reports(tmp_path, simple_song):
    source = write_pop909(tmp_path / "in", {"007": simple_song, "008": {".mid": b""}})
    corpus = build(Build(out=tmp_path / "out", pop909=source))
    assert_same(Corpus.load(tmp_path / "out" / "corpus.npz"), corpus)
    text = summary(corpus)
    # 5 notes of 4 + 8 + 1 + 1 + 12 columns in 64
    assert "pop909: 1 pieces" in text
    assert f"64 columns, in each {26 / 64:.2f} notes sound, {5 / 64:.2f} start" in text
    assert "skipped 008: its beat_midi.txt is missing" in text
    with pytest.raises(ValueError, match="no source was named"):
        build(Build(out=tmp_path))
