"""Bach chorales that come with music21, read from the score itself: no MIDI in between.

Every voice is drawn with the same velocity; fermatas do not lengthen notes. An upbeat is moved to
the end of a bar, so that column 0 is a bar line.
"""

from pathlib import Path

import joblib
import music21
import numpy as np
from music21 import converter, corpus, stream

from domains.music.data.corpus import Corpus, Piece, Skip, cached, regular_downbeats
from domains.music.midi import quantise
from domains.music.roll import Grid, Notes, Roll

SOURCE = "chorales"
VELOCITY = 80  # scores give none
TEMPO = 90.0  # beats a minute; scores give none
METRE = "4/4"


def chorales(
    cache: Path, grid: Grid | None = None, jobs: int = 1, limit: int | None = None
) -> Corpus:
    """Load the chorales in 4/4.

    Args:
        cache: folder for the finished rolls.
        grid: beat grid of four-beat bars; None is sixteenths.
        jobs: processes that parse scores.
        limit: read the first scores only; None reads all.

    Raises:
        ValueError: if the grid is not of four-beat bars.
    """
    grid = grid or Grid()
    if grid.fs is not None or grid.beats_per_bar != 4:
        raise ValueError(f"chorales are read in bars of 4 beats, got {grid}; give such a beat grid")
    fingerprint = f"music21 {music21.__version__} first {limit}"
    return cached(cache, SOURCE, fingerprint, grid, lambda: _build(grid, jobs, limit))


def _build(grid: Grid, jobs: int, limit: int | None) -> Corpus:
    """Parse the scores."""
    names = sorted(set(corpus.chorales.Iterator(returnType="filename")))[:limit]
    results = joblib.Parallel(n_jobs=jobs)(joblib.delayed(_piece)(name, grid) for name in names)
    pieces = [result for result in results if isinstance(result, Piece)]
    return Corpus.of(SOURCE, pieces, [r for r in results if isinstance(r, Skip)], grid)


def _piece(name: str, grid: Grid) -> Piece | Skip:
    """Read one chorale, or say why it is left out."""
    try:
        score = corpus.parse(name)
    except (corpus.CorpusException, converter.ConverterException) as error:
        return Skip(name, f"music21 cannot read it: {error}")
    metres = {m.ratioString for m in score.recurse().getElementsByClass("TimeSignature")}
    if metres != {METRE}:
        return Skip(name, f"its metre is {', '.join(sorted(metres)) or 'unknown'}, not {METRE}")
    upbeat = _upbeat(score.parts[0], grid)
    if upbeat is None:
        return Skip(name, "its bar lines are not 4 beats apart")
    table = [row for part in score.parts for row in _part_notes(part)]
    start, end, pitch = np.array(table, np.float64).T
    scale = grid.columns_per_beat
    first, stop = quantise((start + upbeat) * scale, (end + upbeat) * scale)
    columns = int(-(-stop.max() // grid.columns_per_bar) * grid.columns_per_bar)
    notes = Notes(first, stop, pitch.astype(np.int64), np.full(len(pitch), VELOCITY))
    roll = Roll.from_notes(notes, columns, grid, TEMPO)
    return Piece(name, roll, regular_downbeats(columns, grid))


def _upbeat(part: stream.Part, grid: Grid) -> float | None:
    """Return the silence, in beats, that moves bar lines to whole bars; None if there is none."""
    bar = grid.beats_per_bar
    measures = list(part.getElementsByClass(stream.Measure))
    whole = [float(m.offset) for m in measures if m.quarterLength == bar]
    if not whole:
        return None
    phases = [offset % bar for offset in whole]
    if any(phase != phases[0] for phase in phases):
        return None
    return -phases[0] % bar


def _part_notes(part: stream.Part) -> list[tuple[float, float, int]]:
    """List (start, end, pitch) of a part, in beats, tied notes joined."""
    rows: list[tuple[float, float, int]] = []
    for element in part.stripTies().flatten().notes:
        start = float(element.offset)
        end = start + float(element.quarterLength)
        rows += [(start, end, pitch.midi) for pitch in element.pitches]
    return rows
