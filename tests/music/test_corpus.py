"""A corpus: clips on bar lines, the split, joining, saving."""

from math import ceil

import numpy as np
import pytest

from domains.music.data import corpus as corpus_module
from domains.music.data.corpus import Chord, Corpus, Piece, Skip, is_test, regular_downbeats
from domains.music.roll import Grid, Notes, Roll


def piece(name, columns=256, downbeat=None, silent=(), **more):
    """Build a piece with one note at the start of every bar, but for the silent bars."""
    bars = [bar for bar in range(ceil(columns / 16)) if bar not in silent]
    start = np.array(bars, np.int64) * 16
    notes = Notes(start, start + 4, np.full(len(start), 60), np.full(len(start), 80))
    downbeat = regular_downbeats(columns, Grid()) if downbeat is None else downbeat
    return Piece(name, Roll.from_notes(notes, columns), downbeat, **more)


def lines(columns, *starts):
    downbeat = np.zeros(columns, bool)
    downbeat[list(starts)] = True
    return downbeat


def corpus_of(*pieces, source="test", skipped=()):
    return Corpus.of(source, pieces, skipped, Grid())


def assert_same(a, b):
    for name in vars(a):
        np.testing.assert_equal(getattr(a, name), getattr(b, name))


class TestClips:
    def test_clips_are_hopped_and_stay_inside_pieces(self):
        corpus = corpus_of(piece("a", 16 * 20), piece("b", 16 * 7), piece("c", 16 * 8))
        assert corpus.clips().tolist() == [0, 128, 16 * 27]
        assert corpus.clips(hop_bars=4).tolist() == [0, 64, 128, 192, 16 * 27]
        assert corpus.clips(columns=64, hop_bars=12).tolist() == [0, 192, 320, 432]

    def test_bars_of_a_clip_are_whole(self):
        odd = lines(160, 0, 16, 24, 40, 56, 72, 88, 104, 120, 136, 144)  # bars 2 and 10 are short
        corpus = corpus_of(piece("a", 160, odd))
        assert corpus.clips(columns=64).tolist() == [24]
        assert corpus.clips(columns=16, hop_bars=1).tolist() == [
            0,
            24,
            40,
            56,
            72,
            88,
            104,
            120,
            144,
        ]
        assert corpus.clips(columns=32, hop_bars=1).tolist() == [24, 40, 56, 72, 88, 104]
        # two short bars that make up a whole one are not one
        assert corpus_of(piece("b", 48, lines(48, 0, 8, 16, 32))).clips(columns=32).tolist() == [16]

    def test_more_than_half_of_the_bars_are_played(self):
        assert corpus_of(piece("a", 128, silent=range(4))).clips().tolist() == []
        assert corpus_of(piece("a", 128, silent=range(3))).clips().tolist() == [0]

    def test_splits_share_all_clips(self):
        names = [f"song {i}" for i in range(200)]
        corpus = corpus_of(*(piece(name, 128) for name in names))
        train, test = corpus.clips("train"), corpus.clips("test")
        assert sorted([*train, *test]) == corpus.clips().tolist()
        assert 8 <= len(test) <= 35
        assert corpus.split[test // 128].all()
        assert not corpus.split[train // 128].any()

    def test_the_split_of_a_piece_depends_on_its_name_only(self):
        chosen = [name for name in map(str, range(40)) if is_test(name)]
        assert chosen == [n for n in map(str, range(40)) if corpus_of(piece(n)).split[0]]
        share = np.mean([is_test(f"{i:05}") for i in range(5000)])
        assert share == pytest.approx(0.1, abs=0.015)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"columns": 100}, "give a multiple of 16 columns"),
            ({"columns": 0}, "columns=0"),
            ({"hop_bars": 0}, "a hop of 1 or more"),
            ({"split": "valid"}, "split='valid'; give 'train', 'test' or None"),
        ],
    )
    def test_bad_options_are_named(self, options, message):
        with pytest.raises(ValueError, match=message):
            corpus_of(piece("a")).clips(**options)


class TestCorpus:
    def test_joined_corpora_keep_their_pieces_and_get_labels(self):
        a = corpus_of(piece("a", 32, key="C:maj", chords=(Chord(0, 4, "C"),)), piece("b", 48))
        b = corpus_of(piece("c", 64, silent=[1]), source="other", skipped=[Skip("d", "why")])
        joined = Corpus.join([a, b])
        assert joined.labels.tolist() == [0, 0, 1]
        assert joined.sources == ("test", "other")
        assert joined.offsets.tolist() == [0, 32, 80, 144]
        for index, (source, local) in enumerate([(a, 0), (a, 1), (b, 0)]):
            np.testing.assert_array_equal(joined[index].velocity, source[local].velocity)
            np.testing.assert_array_equal(joined[index].onset, source[local].onset)
        assert joined.keys.tolist() == ["C:maj", "", ""]
        assert joined.chords == ((Chord(0, 4, "C"),), (), ())
        assert joined.skipped == (Skip("d", "why"),)
        assert Corpus.join([b, joined]).labels.tolist() == [0, 1, 1, 2]

    def test_different_grids_do_not_join(self):
        other = Corpus.of("x", [piece("a")], [], Grid(8))
        with pytest.raises(ValueError, match="give one grid"):
            Corpus.join([corpus_of(piece("a")), other])

    def test_a_saved_corpus_loads_as_it_was(self, tmp_path):
        chords = (Chord(0, 4, "C:maj"), Chord(4, 8, "F#:min7/b7"))
        first = corpus_of(
            piece("a", key="C:maj", chords=chords), piece("é"), skipped=[Skip("d", "w")]
        )
        first.save(tmp_path / "c.npz")
        assert_same(Corpus.load(tmp_path / "c.npz"), first)
        with np.load(tmp_path / "c.npz", allow_pickle=False) as file:
            assert all(array.dtype != object for array in file.values())

    def test_files_that_are_no_corpus_are_named(self, tmp_path, monkeypatch):
        path = tmp_path / "c.npz"
        with pytest.raises(ValueError, match="is no corpus file"):
            Corpus.load(path)
        corpus_of(piece("a")).save(path)
        data = path.read_bytes()
        for bad in (b"", b"text", data[: len(data) // 2]):
            path.write_bytes(bad)
            with pytest.raises(ValueError, match="is no corpus file"):
                Corpus.load(path)
        np.savez(path, a=1)
        with pytest.raises(ValueError, match="is no corpus file"):
            Corpus.load(path)
        corpus_of(piece("a")).save(path)
        monkeypatch.setattr(corpus_module, "FORMAT", 99)
        with pytest.raises(ValueError, match="has format 1, not 99; build it anew"):
            Corpus.load(path)
