"""Build a training corpus.

Example: python -m domains.music.data.build --pop909 POP909.tar.xz --chorales --out cache
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from domains.music.data.chorales import chorales
from domains.music.data.corpus import Corpus
from domains.music.data.pop909 import pop909


@dataclass(frozen=True)
class Build:
    """What to build."""

    out: Path
    """Cache folder; the joined corpus becomes OUT/corpus.npz."""
    pop909: Path | None = None
    """POP909, an archive or a folder."""
    chorales: bool = False
    """Add the Bach chorales of music21."""
    jobs: int = 1
    """Processes that parse chorales."""


def build(config: Build) -> Corpus:
    """Build, keep and return the joined corpus.

    Raises:
        ValueError: if no source is named.
    """
    corpora = []
    if config.pop909 is not None:
        corpora.append(pop909(config.pop909, config.out))
    if config.chorales:
        corpora.append(chorales(config.out, jobs=config.jobs))
    if not corpora:
        raise ValueError("no source was named; give --pop909 PATH, --chorales or both")
    corpus = Corpus.join(corpora)
    corpus.save(config.out / "corpus.npz")
    return corpus


def summary(corpus: Corpus) -> str:
    """Describe a corpus: pieces, clips, density, what was skipped."""
    lines = []
    for label, source in enumerate(corpus.sources):
        pieces = corpus.labels == label
        columns = np.repeat(pieces, np.diff(corpus.offsets))
        sounding = (corpus.velocity[columns] > 0).sum(1).mean()
        onsets = corpus.onset[columns].sum(1).mean()
        lines.append(
            f"{source}: {pieces.sum()} pieces ({(pieces & corpus.split).sum()} for tests), "
            f"{columns.sum()} columns, in each {sounding:.2f} notes sound, {onsets:.2f} start"
        )
    train, test = len(corpus.clips("train")), len(corpus.clips("test"))
    lines.append(f"disjoint clips of 128 columns: {train} train, {test} test")
    lines += [f"skipped {skip.name}: {skip.reason}" for skip in corpus.skipped]
    return "\n".join(lines)


if __name__ == "__main__":
    print(summary(build(tyro.cli(Build))))
