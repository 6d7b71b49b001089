"""Training batches: random clips of a corpus, transposed, encoded, with their labels."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from domains.music.codec import Codec
from domains.music.data.corpus import Corpus, Split
from domains.music.model import CORPORA
from domains.music.roll import Roll, Rolls


@dataclass(frozen=True)
class ClipBatches:
    """Draws batches from a corpus; a pure function of its generator.

    Args:
        corpus: the pieces.
        starts: per label, the first columns of its clips.
        shares: per label, the share of clips drawn from it.
        codec: how rolls become x0.
        size: clips in a batch.
        columns: columns in a clip.
        transpose: semitones at most, up or down.
        drop: probability of the null label (for classifier-free guidance).
    """

    corpus: Corpus
    starts: tuple[np.ndarray, ...]
    shares: tuple[float, ...]
    codec: Codec
    size: int = 32
    columns: int = 128
    transpose: int = 6
    drop: float = 0.1

    @classmethod
    def of(
        cls,
        corpus: Corpus,
        codec: Codec,
        size: int,
        columns: int,
        *,
        split: Split = "train",
        shares: tuple[float, ...] = (0.85, 0.15),
    ) -> "ClipBatches":
        """Find the clips (one starts at every bar line that allows it) of every label.

        Raises:
            ValueError: if a corpus has no clip of this length.
        """
        starts = corpus.clips(split, columns, hop_bars=1)
        piece = np.searchsorted(corpus.offsets, starts, side="right") - 1
        label = corpus.labels[piece]
        groups = tuple(starts[label == index] for index in range(len(corpus.sources)))
        for source, group in zip(corpus.sources, groups, strict=True):
            if not len(group):
                raise ValueError(
                    f"the corpus {source} has no clip of {columns} columns to train on; add longer "
                    f"pieces or shorten the clip"
                )
        shares = shares[: len(groups)]
        total = sum(shares)
        return cls(corpus, groups, tuple(s / total for s in shares), codec, size, columns)

    def __call__(self, step: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return x0 (size, columns, 176) and labels (size,)."""
        draw = torch.rand((self.size, 4), generator=generator, dtype=torch.float64).numpy()
        label = np.searchsorted(np.cumsum(self.shares)[:-1], draw[:, 0], side="right")
        counts = np.array([len(group) for group in self.starts])
        pick = (draw[:, 1] * counts[label]).astype(np.int64)
        shift = np.floor(draw[:, 2] * (2 * self.transpose + 1)).astype(int) - self.transpose
        rolls = Rolls.stack(
            [
                clip(self.corpus, self.starts[a][i], self.columns).transpose(int(k))
                for a, i, k in zip(label, pick, shift, strict=True)
            ]
        )
        dropped = draw[:, 3] < self.drop
        labels = np.where(dropped, len(CORPORA), label)
        return self.codec.encode(rolls), torch.from_numpy(labels)


def clip(corpus: Corpus, start: int, columns: int) -> Roll:
    """Cut one clip; what sounds in its first column starts there."""
    span = slice(start, start + columns)
    onset = corpus.onset[span].copy()
    onset[0] = corpus.velocity[start] > 0
    return Roll(corpus.velocity[span], onset, corpus.grid)
