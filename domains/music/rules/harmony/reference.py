"""The scale degrees of a roll by music21 itself: the slow reference for `harmony.spelled`.

It needs music21 and about a second a roll, so it serves tests and doubts, not guidance.
"""

from io import BytesIO

from domains.music.roll import Roll

_NUMERALS = (("VII", 7), ("VI", 6), ("IV", 4), ("V", 5), ("III", 3), ("II", 2), ("I", 1))


def music21_degrees(roll: Roll, window: int = 16) -> list[int]:
    """Return the degree 0..7 of every window of a roll, as the original rule computes it.

    The roll is written as MIDI and read by music21, which snaps it to its own grid, estimates the
    key and cuts it into slices; the slice that fills most of a window gives the roman numeral.

    Args:
        roll: notes to analyse.
        window: columns per window.

    Source: Huang et al. 2024, https://arxiv.org/abs/2402.14285, and its code (get_chords).
    """
    from music21.midi.translate import midiStringToStream
    from music21.roman import romanNumeralFromChord

    count = roll.columns // window
    file = BytesIO()
    roll.to_midi().write(file)
    score = midiStringToStream(file.getvalue())
    if not score.recurse().notes:
        return [0] * count
    key = score.analyze("key")
    column = 60 / roll.tempo / roll.grid.seconds(roll.tempo)  # columns in a quarter note
    slices = []
    for chord in score.chordify().flatten().getElementsByClass("Chord"):
        first = float(chord.offset) * column
        last = first + float(chord.quarterLength) * column
        figure = str(romanNumeralFromChord(chord, key).figure)
        slices.append((first, last, _degree(figure)))
    return [_longest(slices, w * window, (w + 1) * window) for w in range(count)]


def _degree(figure: str) -> int:
    return next((degree for text, degree in _NUMERALS if text in figure.upper()), 0)


def _longest(slices: list[tuple[float, float, int]], start: int, end: int) -> int:
    """Return the degree of the slice with the longest overlap, the first on ties; 0 if none."""
    overlaps = [(min(last, end) - max(first, start), degree) for first, last, degree in slices]
    length, degree = max(overlaps, key=lambda item: item[0], default=(0.0, 0))
    return degree if length > 0 else 0
