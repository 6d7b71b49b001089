"""Any folder of MIDI files as a corpus.

MAESTRO and other recorded performances have no beats in their files: read them with a fixed-rate
grid, `folder(path, cache, Grid(fs=12.5))`. Scores and productions made to a click keep the beat
grid; their column 0 is the start of the file.
"""

import hashlib
from pathlib import Path

from domains.music.data.corpus import Corpus, Piece, Skip, cached, regular_downbeats
from domains.music.midi import MAX_COLUMNS, MidiError, metre, parse, read_bytes, roll_of
from domains.music.roll import Grid

SUFFIXES = {".mid", ".midi"}
MAX_TOTAL = 20_000_000  # columns of a corpus; two arrays of 88 bytes a column make 3.5 GB


def folder(path: Path, cache: Path, grid: Grid | None = None, limit: int = MAX_COLUMNS) -> Corpus:
    """Load all MIDI files under a folder; its name becomes the source.

    Args:
        path: the folder, searched to any depth.
        cache: folder for the finished rolls.
        grid: time grid; None is sixteenths in 4/4. On a beat grid, files of another metre are left
            out, except where its bars make up whole bars of the grid (2/4 in 4/4).
        limit: most columns a piece may have.

    Raises:
        ValueError: if the folder is missing or no file in it can be used.
    """
    grid = grid or Grid()
    files = midi_files(path)
    digest = hashlib.sha256(str(limit).encode())
    for name, file in files.items():
        digest.update(name.encode() + hashlib.sha256(file.read_bytes()).digest())
    source = path.resolve().name
    return cached(
        cache, source, digest.hexdigest(), grid, lambda: _build(source, files, grid, limit)
    )


def midi_files(path: Path) -> dict[str, Path]:
    """Find the MIDI files under a folder, by relative name and in its order.

    Raises:
        ValueError: if the folder is missing or holds none.
    """
    if not path.is_dir():
        raise ValueError(f"{path} is not a folder; give a folder of MIDI files")
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
    if not files:
        raise ValueError(f"{path} holds no file that ends in .mid or .midi; give one that does")
    return {file.relative_to(path).as_posix(): file for file in files}


def _build(source: str, files: dict[str, Path], grid: Grid, limit: int) -> Corpus:
    """Read all files."""
    pieces: list[Piece] = []
    skipped: list[Skip] = []
    total = 0
    for name, file in files.items():
        try:
            pieces.append(_piece(name, file, grid, limit))
        except MidiError as error:
            skipped.append(Skip(name, str(error)))
            continue
        total += pieces[-1].roll.columns
        if total > MAX_TOTAL:
            raise ValueError(
                f"{source} has more than {MAX_TOTAL} columns; give a coarser grid or split it"
            )
    return Corpus.of(source, pieces, skipped, grid)


def _piece(name: str, file: Path, grid: Grid, limit: int) -> Piece:
    """Read one file."""
    score = parse(read_bytes(file))
    if grid.fs is None and grid.beats_per_bar % metre(score).beats_per_bar:
        bar = metre(score).beats_per_bar
        raise MidiError(f"its bars have {bar} beats, those of the grid {grid.beats_per_bar}")
    roll = roll_of(score, grid, limit=limit)
    return Piece(name, roll, regular_downbeats(roll.columns, grid))
