"""Real clips to compare with: the test clips that the package ships, or those of a corpus.

The shipped file holds held-out clips of POP909 (`domains/music/reference`, which has its licence).
It is made from a corpus of `domains.music.data.build` by:

    python -m domains.music.data.reference --corpus cache/corpus.npz

Conventions:
    velocity: (N, T, 88) uint8, 0..127, stored; onset: (N, T, 88) bool, stored as packed bits.
"""

from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import tyro

from domains.music.data.corpus import Corpus
from domains.music.roll import PITCHES, Roll, Rolls

SHIPPED = Path(__file__).parents[1] / "reference" / "pop909_test.npz"
COLUMNS = 128
SOURCE = "pop909"
SHIPPED_COUNT = 256


def reference_clips(source: Path | None = None, count: int | None = None, seed: int = 0) -> Rolls:
    """Return real test clips (count, 128, 88) in random order; fewer are the first of more.

    Args:
        source: a corpus.npz, of whose POP909 test clips all are used; None is the shipped 256.
        count: how many; None is all.
        seed: of the order.

    Raises:
        ValueError: for a file that is missing or foreign, or a count that it does not hold.
    """
    if source is None:
        clips = _load(SHIPPED)
    else:
        corpus = Corpus.load(source)
        clips = _rolls(corpus, held_out(corpus))
    most = len(clips)
    count = most if count is None else count
    if not 1 <= count <= most:
        raise ValueError(
            f"got count={count} of {most} real clips; give 1 to {most}, or a corpus that has more"
        )
    order = np.random.default_rng(seed).permutation(most)[:count]
    return Rolls.stack([clips[index] for index in order])


def held_out(corpus: Corpus) -> np.ndarray:
    """Return the first columns of the disjoint test clips of POP909.

    Raises:
        ValueError: if the corpus has none.
    """
    starts = corpus.clips("test", COLUMNS)
    pieces = np.searchsorted(corpus.offsets, starts, "right") - 1
    wanted = [source == SOURCE for source in corpus.sources]
    starts = starts[np.array(wanted)[corpus.labels[pieces]]]
    if not len(starts):
        raise ValueError(f"the corpus has no test clips of {SOURCE}; build it with --pop909")
    return starts


def spread(corpus: Corpus, starts: np.ndarray, count: int) -> np.ndarray:
    """Choose clips evenly: as many of every piece as of any other, evenly within it.

    Pieces that are too short give all that they have. The choice has no randomness.

    Raises:
        ValueError: if there are fewer clips than asked for.
    """
    if not 1 <= count <= len(starts):
        raise ValueError(f"got count={count} of {len(starts)} clips; give 1 to {len(starts)}")
    piece = np.searchsorted(corpus.offsets, starts, "right") - 1
    groups = [starts[piece == p] for p in np.unique(piece)]
    share = np.zeros(len(groups), int)
    while share.sum() < count:
        # One more of every piece that has more; in the last round only of some, evenly spaced.
        open_ = np.flatnonzero(share < [len(group) for group in groups])
        missing = min(count - share.sum(), len(open_))
        share[open_[_even(len(open_), missing)]] += 1
    return np.concatenate(
        [group[_even(len(group), n)] for group, n in zip(groups, share, strict=True)]
    )


def _even(length: int, count: int) -> np.ndarray:
    """Return `count` different indices spread evenly over 0..length - 1."""
    return (np.arange(count) * 2 + 1) * length // (2 * max(count, 1))


def _rolls(corpus: Corpus, starts: np.ndarray) -> list[Roll]:
    spans = [slice(start, start + COLUMNS) for start in starts]
    return [Roll(corpus.velocity[span], corpus.onset[span], corpus.grid) for span in spans]


def save(path: Path, clips: list[Roll]) -> None:
    """Write clips to a small file."""
    velocity = np.stack([clip.velocity for clip in clips])
    onset = np.packbits(np.stack([clip.onset for clip in clips]), axis=-1)
    np.savez_compressed(path, velocity=velocity, onset=onset)


def _load(path: Path) -> list[Roll]:
    try:
        with np.load(path, allow_pickle=False) as file:
            velocity, packed = file["velocity"], file["onset"]
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise ValueError(
            f"{path} is no file of clips ({error}); install the package anew"
        ) from None
    onset = np.unpackbits(packed, axis=-1, count=PITCHES).astype(bool)

    return [Roll(v, o) for v, o in zip(velocity, onset, strict=True)]


def make(corpus: Path, out: Path = SHIPPED, count: int = SHIPPED_COUNT) -> None:
    """Write the shipped clips.

    Args:
        corpus: a corpus.npz.
        out: file to write.
        count: clips.
    """
    held = Corpus.load(corpus)
    starts = spread(held, held_out(held), count)
    save(out, _rolls(held, starts))
    print(f"{out}: {count} clips, {out.stat().st_size} bytes")


if __name__ == "__main__":
    tyro.cli(make)
