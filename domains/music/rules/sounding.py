"""What sounds and what starts in a roll: the reading that all rules share.

A cell sounds from MIDI velocity 4 on; 3 and less count as silent, as in the original rules.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from domains.music.roll import LOWEST, PITCHES, Rolls

AUDIBLE = 0.025  # the original's threshold: velocity 3 is 0.0236, velocity 4 is 0.0315
PITCH_CLASS = (torch.arange(PITCHES) + LOWEST) % 12  # (88,) pitch class of a row, C = 0


def sounding(rolls: Rolls) -> Tensor:
    """Return which cells sound, (B, T, 88) bool."""
    return rolls.velocity >= AUDIBLE


def before(cells: Tensor) -> Tensor:
    """Return the cells one column earlier, (B, T, 88), with silence before column 0."""
    return pad(cells, (0, 0, 1, 0))[:, :-1]


def starts(rolls: Rolls) -> Tensor:
    """Return where notes start, (B, T, 88) bool, by the onset channel.

    What sounds in column 0 starts there; a repeated note starts again without a gap.
    """
    played = sounding(rolls)
    onset = rolls.onset & played
    onset[:, 0] = played[:, 0]
    return onset


def pitch_classes(cells: Tensor) -> Tensor:
    """Sum the rows of each pitch class: (..., 88) to (..., 12) float32."""
    below = LOWEST % 12  # silent rows that complete the lowest octave, then the highest
    octaves = pad(cells.float(), (below, -(below + PITCHES) % 12)).unflatten(-1, (-1, 12))
    return octaves.sum(dim=-2)
