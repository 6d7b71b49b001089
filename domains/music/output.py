"""Result files: MIDI, pictures and sound, written beside the folder and moved in when complete."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from domains.music.audio import render
from domains.music.plots import piano_roll
from domains.music.report import overlays
from domains.music.roll import Roll, Rolls
from guided.energy import WeightedSum


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """Give a folder to write into; its files move into ``folder`` when all went well.

    Raises:
        ValueError: if ``folder`` cannot be written; checked before any work is done.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=".part-", dir=folder))
    except OSError as error:
        raise ValueError(
            f"cannot write into {folder} ({error.strerror}); choose another folder with --out"
        ) from None
    try:
        yield part
        for file in sorted(part.iterdir()):
            file.replace(folder / file.name)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_clips(
    folder: Path,
    stem: str,
    pieces: Sequence[Roll],
    judged: Rolls,
    *,
    rules: WeightedSum | None = None,
    sound: bool = True,
) -> None:
    """Write ``stem-1.mid``, ``.png`` and ``.wav``, ``stem-2.mid`` and so on.

    Args:
        folder: where to.
        stem: start of the names.
        pieces: what the .mid and .wav files hold.
        judged: the part of each piece that the rules read, and that the picture shows.
        rules: what was asked, for the picture.
        sound: write .wav files.
    """
    for index, piece in enumerate(pieces):
        name = f"{stem}-{index + 1}"
        piece.to_midi(folder / f"{name}.mid")
        if sound:
            render(piece, folder / f"{name}.wav")
        (shown,) = one(judged, index).rolls(piece.grid, piece.tempo)
        labels, curves = overlays(rules, judged, index)
        piano_roll(shown, folder / f"{name}.png", name, labels, curves)


def one(rolls: Rolls, index: int) -> Rolls:
    """Return one roll of a batch as a batch."""
    span = slice(index, index + 1)
    return Rolls(rolls.velocity[span], rolls.onset[span], rolls.columns_per_bar)
