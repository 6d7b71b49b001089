"""Key, range, polyphony, rhythm, leap and parallels on rolls whose losses are counted by hand."""

import numpy as np
import pytest
import torch

from domains.music.roll import Notes, Roll, Rolls
from domains.music.rules.leap import Leap
from domains.music.rules.parallels import Parallels
from domains.music.rules.pitch_range import PitchRange
from domains.music.rules.polyphony import Polyphony
from domains.music.rules.rhythm import Rhythm
from domains.music.rules.rule import Rule, RuleEnergy
from domains.music.rules.scale import InKey

C_SCALE = (60, 62, 64, 65, 67, 69, 71, 72)


def play(*notes: tuple[int, int, int], columns: int = 16) -> Rolls:
    """Rolls of one roll with notes (first column, column after the last, MIDI pitch)."""
    start, end, pitch = (np.array(values) for values in zip(*notes, strict=True))
    velocity = np.full(len(start), 80)
    return Rolls.stack([Roll.from_notes(Notes(start, end, pitch, velocity), columns)])


def melody(*pitches: int, length: int = 2) -> Rolls:
    notes = [(length * i, length * i + length, pitch) for i, pitch in enumerate(pitches)]
    return play(*notes, columns=length * len(pitches))


def voices(*chords: tuple[int, ...]) -> Rolls:
    notes = [(2 * i, 2 * i + 2, pitch) for i, chord in enumerate(chords) for pitch in chord]
    return play(*notes, columns=2 * len(chords))


def loss(rule: Rule, text: str, rolls: Rolls) -> float:
    target = rule.parse(text, rolls.velocity.shape[1])
    return float(RuleEnergy(rule, target)(rolls))


@pytest.mark.parametrize(
    ("key", "outside"),
    [
        ("C major", 0), ("A minor", 0), ("D dorian", 0), ("B locrian", 0), ("G major", 1 / 8),
        ("A harmonic minor", 1 / 8), ("A melodic minor", 2 / 8), ("C minor", 3 / 8),
        ("C major pentatonic", 2 / 8), ("F# major", 6 / 8),
    ],
)  # fmt: skip
def test_key_counts_notes_outside_the_scale(key, outside):
    assert loss(InKey(), key, melody(*C_SCALE)) == pytest.approx(outside)


def test_key_counts_notes_and_not_their_length():
    rolls = play((0, 8, 60), (8, 9, 61), (9, 10, 61), (10, 16, 62))
    assert loss(InKey(), "C major", rolls) == pytest.approx(2 / 4)


def test_key_is_copied_as_a_scale():
    target = InKey().target_from(melody(*C_SCALE, 60, 64, 67, 60))
    assert InKey().show(target) == "C D E F G A B"
    target = InKey().target_from(melody(57, 59, 60, 62, 64, 65, 68, 69, 57, 60, 64))
    assert InKey().show(target) == "C D E F G A B"  # A minor, natural


def test_range_counts_notes_beyond_either_end():
    rolls = melody(47, 48, 60, 84, 85)
    assert loss(PitchRange(), "C3-C6", rolls) == pytest.approx(2 / 5)
    assert loss(PitchRange(), "48 - 84", rolls) == pytest.approx(2 / 5)
    assert loss(PitchRange(), "A0-C8", rolls) == 0
    assert loss(PitchRange(), "C8-C8", rolls) == 1
    assert PitchRange().target_from(rolls).tolist() == [47, 85]
    assert PitchRange().show(PitchRange().measure(rolls)[0]) == "B2-C#6"


def test_range_needs_a_range():
    for text in ("C3", "C6-C3", "C3-", "C3-C9", "C3-C4-C5"):
        with pytest.raises(ValueError, match="; give"):
            PitchRange().parse(text, 16)
    silent = Rolls(torch.zeros(1, 16, 88), torch.zeros(1, 16, 88, dtype=torch.bool))
    with pytest.raises(ValueError, match="silent roll"):
        PitchRange().target_from(silent)


def test_polyphony_is_the_mean_excess():
    rolls = play((0, 8, 60), (0, 8, 64), (0, 8, 67), (0, 4, 72), (8, 12, 60))  # 4, 3, 1, 0 notes
    assert Polyphony().measure(rolls)[0, ::4].tolist() == [4, 3, 1, 0]
    assert loss(Polyphony(), "max:2", rolls) == pytest.approx((2 + 1) / 4)
    assert loss(Polyphony(), "max:4", rolls) == 0
    assert loss(Polyphony(), "min:1", rolls) == pytest.approx(1 / 4)
    assert loss(Polyphony(), "min:2,max:3", rolls) == pytest.approx((1 + 0 + 1 + 2) / 4)
    for text in ("4", "max:-1", "max:x", "min:3,max:2", "mean:2"):
        with pytest.raises(ValueError, match="polyphony got"):
            Polyphony().parse(text, 16)


def test_rhythm_compares_starts_column_by_column():
    rolls = play((0, 3, 60), (3, 6, 60), (6, 16, 60), (6, 16, 64))  # x..x..x.........
    assert Rhythm().show(Rhythm().measure(rolls)[0]) == "x..x..x........."
    assert loss(Rhythm(), "x..x..x. ........", rolls) == 0
    assert loss(Rhythm(), "X..x..x.", rolls) == pytest.approx(3 / 16)  # 8, 11 and 14 are missing
    assert loss(Rhythm(), "x...", rolls) == pytest.approx(5 / 16)
    assert Rhythm().parse("x.|.x", 16).tolist() == [1, 0, 0, 1] * 4
    for text, message in {
        "": "give x",
        "xo": "give x",
        "x..": "3 columns for a roll of 16",
    }.items():
        with pytest.raises(ValueError, match=message):
            Rhythm().parse(text, 16)


def test_leaps_of_a_melody():
    rolls = melody(60, 67, 60, 72, 72, 80)  # moves 7, 7, 12, 0, 8
    moves = Leap().measure(rolls)[0]
    assert moves[moves >= 0].tolist() == [7, 7, 12, 0, 8]
    assert loss(Leap(), "max:7", rolls) == pytest.approx(2 / 5)
    assert loss(Leap(), "max:8", rolls) == pytest.approx(1 / 5)
    assert loss(Leap(), "max:0", rolls) == pytest.approx(4 / 5)
    assert int(Leap().target_from(rolls)) == 12


def test_leaps_ignore_what_lies_below_the_melody():
    top = [(0, 8, 72), (8, 16, 74)]
    below = [(0, 2, 40), (2, 4, 60), (4, 6, 35), (8, 9, 50)]
    moves = Leap().measure(play(*top, *below))[0]
    assert moves[moves >= 0].tolist() == [2]
    # across a rest the last melody note counts
    moves = Leap().measure(play((0, 2, 60), (10, 12, 65)))[0]
    assert moves.nonzero().flatten().tolist() == list(range(16))  # -1 everywhere else
    assert moves[10] == 5
    for text in ("7", "max:-1", "max:x"):
        with pytest.raises(ValueError, match="leap got"):
            Leap().parse(text, 16)


@pytest.mark.parametrize(
    ("chords", "fifths", "octaves"),
    [
        (((48, 55), (50, 57), (52, 59)), 1, 0),  # parallel fifths twice in two changes
        (((48, 67), (50, 69), (50, 71)), 1 / 2, 0),  # twelfths; then one voice stays
        (((48, 60), (50, 62)), 0, 1),
        (((48, 72), (45, 69)), 0, 1),
        (((48, 55), (48, 55)), 0, 0),  # repeated: no change at all
        (((48, 55), (43, 62)), 0, 0),  # contrary motion from a fifth to a twelfth + octave
        (((48, 52), (50, 57)), 0, 0),  # a hidden fifth is none
        (((48, 54), (50, 57)), 0, 0),  # a diminished fifth before is none
        (((48, 52, 55), (50, 53, 57)), 1, 0),  # the inner voice does not matter
        (((48,), (50,)), 0, 0),
    ],
)
def test_parallels_between_the_outer_voices(chords, fifths, octaves):
    shares = Parallels().measure(voices(*chords))[0].tolist()
    assert shares == pytest.approx([fifths, octaves])


def test_parallels_between_any_two_of_three_voices():
    rolls = voices((48, 55, 64), (50, 57, 65), (52, 60, 72))  # inner fifth; outer tenth, octave+
    assert Parallels().measure(rolls)[0].tolist() == [0, 0]
    assert Parallels(voices=3).measure(rolls)[0].tolist() == pytest.approx([1 / 2, 0])
    # columns with another number of notes are left out
    rolls = voices((48, 55), (50, 57), (52, 59, 67))
    assert Parallels(voices=3).measure(rolls)[0].tolist() == [0, 0]


def test_parallels_allow_a_share():
    rolls = voices((48, 55), (50, 57), (50, 59))
    assert loss(Parallels(), "0", rolls) == pytest.approx(0.5)
    assert loss(Parallels(), ".2", rolls) == pytest.approx(0.3)
    assert loss(Parallels(), "1", rolls) == 0
    for text in ("-1", "2", "none", "nan"):
        with pytest.raises(ValueError, match="parallels got"):
            Parallels().parse(text, 16)
    with pytest.raises(ValueError, match="parallels got voices=1"):
        Parallels(voices=1)
