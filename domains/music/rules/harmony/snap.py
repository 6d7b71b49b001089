"""Snap notes to quarters and thirds of a quarter note, as music21 does when it reads MIDI.

A note's start and its length are each moved to the nearest multiple of 1/4 or 1/3 of a quarter,
whichever is closer; a length is at least 1/4. Columns of sixteenths are on that grid already.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from domains.music.rules.sounding import before

TICKS = 12  # per quarter note: both grids lie on them
GRIDS = (TICKS // 4, TICKS // 3)


def snap(cells: Tensor, start: Tensor, quarter: int) -> tuple[Tensor, Tensor]:
    """Return snapped notes as (what sounds, what starts), both (B, T, 88) bool.

    Args:
        cells: (B, T, 88) bool, what sounds.
        start: (B, T, 88) bool, where notes start.
        quarter: columns in a quarter note.
    """
    if quarter <= 4:
        return cells, start
    batch, pitch, first, last = _notes(cells, start)
    begin = _nearest(first, quarter)
    length = _nearest(last - first, quarter).clamp(min=GRIDS[0])
    columns = cells.shape[1]
    begin, end = (
        (ticks * quarter / TICKS).round().long().clamp(max=columns)
        for ticks in (begin, begin + length)
    )
    change = torch.zeros(cells.shape[0], columns + 1, cells.shape[2], device=cells.device)
    one = torch.ones_like(begin, dtype=change.dtype)
    starts = change.index_put((batch, begin, pitch), one)
    change.index_put_((batch, begin, pitch), one, accumulate=True)
    change.index_put_((batch, end, pitch), -one, accumulate=True)
    return change.cumsum(dim=1)[:, :-1] > 0, starts[:, :-1] > 0


def _notes(cells: Tensor, start: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return batch, pitch row, first column and the column after the last of every note."""
    starts = pad(start | (cells & ~before(cells)), (0, 0, 0, 1))
    stops = pad(cells, (0, 0, 1, 0)) & ~pad(cells, (0, 0, 0, 1))
    batch, pitch, column = (starts | stops).transpose(1, 2).nonzero(as_tuple=True)
    begins = starts[batch, column, pitch].nonzero(as_tuple=True)[0]
    # in this order, what follows a start is the break that ends it
    return batch[begins], pitch[begins], column[begins], column[begins + 1]


def _nearest(columns: Tensor, quarter: int) -> Tensor:
    """Return times in columns as the nearest ticks on either grid, quarters first on ties."""
    ticks = columns.double() * TICKS / quarter
    fine, coarse = ((ticks / grid).round() * grid for grid in GRIDS)
    return torch.where((ticks - fine).abs() <= (ticks - coarse).abs(), fine, coarse)
