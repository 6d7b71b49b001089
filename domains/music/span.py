"""Rewriting a span of a piece, and going on where it ends: the model sees eight bars at a time."""

from dataclasses import dataclass

import torch

from domains.music.asking import fit
from domains.music.compose import Composer, Kept, OnStep
from domains.music.roll import Roll, Rolls
from guided.energy import WeightedSum
from guided.rng import stream_seed

WINDOW = 8
"""Bars that the model sees."""
LONGEST = 6
"""Bars that can be rewritten at once: two of the window stay, to hold on to."""


def whole_bars(roll: Roll, bars: int = 1) -> Roll:
    """Fill a roll up with silence to whole bars, at least ``bars``."""
    bar = roll.grid.columns_per_bar
    return fit(roll, max(bars * bar, -(-roll.columns // bar) * bar))


@dataclass(frozen=True)
class Span:
    """Bars of a piece to rewrite, and the window around them that the model sees.

    Args:
        piece: in whole bars, at least eight.
        first: first bar to rewrite, from 0.
        last: the bar after the last one to rewrite.
        start: first bar of the window.
    """

    piece: Roll
    first: int
    last: int
    start: int

    @classmethod
    def of(cls, piece: Roll, first: int, last: int) -> "Span":
        """Place the window around bars ``first`` to ``last``, counted from 1 as a musician does.

        Raises:
            ValueError: for bars outside the piece, or more than the model can rewrite at once.
        """
        bars = -(-piece.columns // piece.grid.columns_per_bar)
        if not 1 <= first <= last <= bars:
            raise ValueError(
                f"bars {first}:{last} are not in the piece, which has bars 1:{bars}; give --bars "
                f"first:last"
            )
        if last - first + 1 > LONGEST:
            raise ValueError(
                f"bars {first}:{last} are {last - first + 1} bars, at most {LONGEST} can be "
                f"rewritten at once; infill twice"
            )
        piece = whole_bars(piece, WINDOW)
        middle = (first - 1 + last - WINDOW) // 2
        longest = piece.columns // piece.grid.columns_per_bar - WINDOW
        return cls(piece, first - 1, last, min(max(middle, 0), longest))

    def window(self, roll: Roll) -> Roll:
        """Cut the window out of a roll of the piece's length."""
        bar = self.piece.grid.columns_per_bar
        return fit(roll.window(self.start * bar, WINDOW * bar), WINDOW * bar)

    def kept(self) -> Kept:
        """Return what the model has to keep: the window without the bars to rewrite."""
        bar = self.piece.grid.columns_per_bar
        columns = torch.ones(WINDOW * bar, dtype=torch.bool)
        columns[(self.first - self.start) * bar : (self.last - self.start) * bar] = False
        return Kept(Rolls.stack([self.window(self.piece)]), columns)

    def spliced(self, rewritten: Roll) -> Roll:
        """Put the rewritten bars of a window into the piece; every other bar stays bit for bit."""
        bar = self.piece.grid.columns_per_bar
        here = slice(self.first * bar, self.last * bar)
        there = slice((self.first - self.start) * bar, (self.last - self.start) * bar)
        velocity, onset = self.piece.velocity.copy(), self.piece.onset.copy()
        velocity[here], onset[here] = rewritten.velocity[there], rewritten.onset[there]
        # A note that a seam cuts is struck again behind it, unless it just goes on.
        for edge in (self.first * bar, self.last * bar):
            if edge < len(onset):
                onset[edge] |= (velocity[edge] > 0) & (velocity[edge] != velocity[edge - 1])
        return Roll(velocity, onset, self.piece.grid, self.piece.tempo)


def infill(
    composer: Composer,
    span: Span,
    rules: WeightedSum | None,
    *,
    count: int,
    seed: int,
    corpus: str | None,
    on_step: OnStep | None = None,
) -> list[Roll]:
    """Return ``count`` versions of the piece with the span rewritten."""
    rolls = composer.compose(
        rules,
        count=count,
        seed=seed,
        columns=WINDOW * span.piece.grid.columns_per_bar,
        corpus=corpus,
        kept=span.kept(),
        on_step=on_step,
    )
    return [span.spliced(roll) for roll in rolls.rolls(span.piece.grid, span.piece.tempo)]


def extend(
    composer: Composer,
    piece: Roll,
    bars: int,
    rules: WeightedSum | None,
    *,
    number: int,
    seed: int,
    corpus: str | None,
    on_step: OnStep | None = None,
) -> Roll:
    """Return the piece with ``bars`` new bars at its end, four at a time.

    Args:
        composer: the model.
        piece: what to continue.
        bars: new bars.
        rules: what every window of eight bars (four old, four new) has to obey.
        number: number of this version; versions of one seed differ.
        seed: seed of the run.
        corpus: style.
        on_step: called after every step.
    """
    piece = whole_bars(piece)
    bar = piece.grid.columns_per_bar
    start, total = piece.columns // bar, piece.columns // bar + bars
    while start < total:
        step = min(WINDOW // 2, total - start)
        longer = fit(piece, max((start + step) * bar, WINDOW * bar))
        span = Span.of(longer, start + 1, start + step)
        (piece,) = infill(
            composer,
            span,
            rules,
            count=1,
            seed=stream_seed(seed, number, start) >> 1,
            corpus=corpus,
            on_step=on_step,
        )
        start += step
        piece = fit(piece, start * bar)
    return piece
