r"""The map between piano rolls and the model's x0.

x0 has shape (B, T, 176): the sustain channel (88 pitches), then the onset channel (88 pitches).
A silent cell is -1, a sounding one its velocity in (0, 1], an onset is 1 and the absence of one -1.
Both channels are then standardised, so that the sparse onsets (about one cell in seventy) weigh in
the training loss as much as the sustained notes.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from domains.music.roll import PITCHES, Rolls
from domains.music.rules.sounding import AUDIBLE

CERTAIN = 0.3  # a velocity that 99 % of the notes reach; a mean above it is most likely a note
SURE = 0.8  # a probability of an onset that is read as 1
TOGETHER = 1.28  # notes of a chord start together: columns with an onset are fewer than by chance


@dataclass(frozen=True)
class Codec:
    """Encodes and decodes rolls.

    Args:
        sustain: mean and standard deviation of the sustain channel before standardising.
        onset: the same of the onset channel.
        silence: a sustain value below this one decodes as silent.
        loudness: the usual velocity of a note, to read early estimates with.
        columns_per_bar: written into the decoded rolls.
    """

    sustain: tuple[float, float] = (-0.93, 0.33)
    onset: tuple[float, float] = (-0.97, 0.24)
    silence: float = -0.3
    loudness: float = 0.65
    columns_per_bar: int = 16

    def encode(self, rolls: Rolls) -> Tensor:
        """Return x0 (B, T, 176) of clean rolls."""
        velocity = rolls.velocity.to(torch.float32)
        sustain = torch.where(velocity > 0, velocity, -1.0)
        onset = rolls.onset.to(torch.float32) * 2 - 1
        return torch.cat(
            [
                (sustain - self.sustain[0]) / self.sustain[1],
                (onset - self.onset[0]) / self.onset[1],
            ],
            dim=-1,
        )

    def decode(self, x0: Tensor) -> Rolls:
        """Return the rolls (B, T, 88) that x0 (B, T, 176) stands for; always a playable one.

        Cells under the silence threshold are silent, onsets are kept where a note sounds, a note
        that starts without one is given one, and a note keeps the velocity of its first column: so
        rules read exactly what the written MIDI will hold.
        """
        sustain, onset = self._channels(x0)
        sounding = sustain > self.silence
        before = torch.nn.functional.pad(sounding, (0, 0, 1, 0))[..., :-1, :]
        onsets = sounding & ((onset > 0) | ~before)
        velocity = (sustain * 127).round().clamp(1, 127) / 127
        return Rolls(
            torch.where(sounding, _held(velocity, onsets), 0.0), onsets, self.columns_per_bar
        )

    def expect(self, x0: Tensor) -> Rolls:
        r"""Return rolls (B, T, 88) with the notes that a blurred estimate of x0 expects.

        An early estimate is a mean: a cell that sounds with probability p, at the usual velocity v,
        is at :math:`p (v + 1) - 1`, and few cells are above any threshold. Sums over cells of what
        is linear in them are right nevertheless, so every bar gets as many sounding cells, and as
        many columns with onsets, as it expects: the likeliest ones, at their expected velocity.
        """
        sustain, onset = self._channels(x0)
        span = self.columns_per_bar if x0.shape[-2] % self.columns_per_bar == 0 else x0.shape[-2]
        likely = (sustain + 1) / (1 + self.loudness)
        # What is as loud as this does sound, and how loud it is says nothing about how likely.
        certain = sustain > CERTAIN
        onsets = _struck((onset + 1) / 2, span)
        # What starts sounds; the other places go to the loudest.
        ranked = sustain.masked_fill(onsets, torch.inf)
        sounding = _likeliest(ranked, likely.where(~certain, 1.0), span)
        velocity = sustain.where(certain, likely * self.loudness).clamp(AUDIBLE, 1.0)
        return Rolls(torch.where(sounding, velocity, 0.0), onsets & sounding, self.columns_per_bar)

    def _channels(self, x0: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sustain and the onset channel, in velocities and in -1 to 1."""
        return (
            x0[..., :PITCHES] * self.sustain[1] + self.sustain[0],
            x0[..., PITCHES:] * self.onset[1] + self.onset[0],
        )

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready description."""
        return asdict(self)


def _held(velocity: Tensor, onset: Tensor) -> Tensor:
    """Give every cell the velocity of the last onset at or before it (of column 0 if none)."""
    column = torch.arange(velocity.shape[-2], device=velocity.device, dtype=torch.int32)
    last = torch.where(onset, column[:, None], 0).cummax(dim=-2).values
    return velocity.gather(-2, last.long())


def _likeliest(value: Tensor, probability: Tensor, span: int) -> Tensor:
    """Mark, in every ``span`` columns, the highest values, as many as the probabilities sum up to.

    The sum is not clamped cell by cell: the errors of 88 silent pitches have to cancel.
    """
    cells = value.unflatten(-2, (-1, span)).flatten(-2)  # (..., spans, cells)
    count = probability.unflatten(-2, (-1, span)).sum(dim=(-2, -1))[..., None]
    return _highest(cells, count).unflatten(-1, (span, -1)).flatten(-3, -2)


def _struck(probability: Tensor, span: int) -> Tensor:
    """Mark onsets (..., T, 88), as many as are expected in as many columns as are expected.

    In every ``span`` columns those are struck that most likely have an onset; in each of them, as
    many notes as are expected where there is one.
    """
    sure = probability.masked_fill(probability > SURE, 1.0)
    some = 1 - (torch.log1p(-sure).sum(dim=-1, keepdim=True) / TOGETHER).exp()
    total = probability.sum(dim=-1, keepdim=True)
    struck = _likeliest(total, some, span)
    return struck & _highest(probability, (total / some.clamp(min=0.1)).clamp(min=1))


def _highest(cells: Tensor, count: Tensor) -> Tensor:
    """Mark, along the last axis, as many of the highest values as ``count`` (..., 1) rounds to."""
    size = cells.shape[-1]
    count = count.round().long().clamp(0, size)
    # NumPy sorts 15 times faster than PyTorch on a CPU.
    rising = torch.from_numpy(np.sort(cells.cpu().numpy(), axis=-1)).to(cells.device)
    least = rising.gather(-1, (size - 1 - count).clamp(min=0))
    return (cells > least) | (count == size)
