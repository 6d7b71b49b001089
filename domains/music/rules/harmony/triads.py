r"""The chord of a window: the triad that its sounding time fits best.

A triad with pitch-class set A and root r scores

.. math:: \frac{\sum_{c \in A} h_c}{\sqrt{|A|}\,\|h\|} + 0.2\, b_r

where :math:`h_c` is the sounding time of pitch class c in the window and :math:`b_r` the share of
the time in which r is the lowest note. The first term is the cosine between h and the triad; the
bass decides between chords that share notes (C6 or Am7). No spelling and no key is involved.

Chord numbers: 0 no chord (silence), 1..12 major on C to B, 13..24 minor, 25..36 diminished.
"""

import torch
from torch import Tensor

from domains.music.rules.sounding import PITCH_CLASS, pitch_classes

QUALITIES = {"": (0, 4, 7), "m": (0, 3, 7), "dim": (0, 3, 6)}
BASS_WEIGHT = 0.2
TRIADS = torch.stack(  # (36, 12) 0/1
    [
        torch.eye(12)[[(root + step) % 12 for step in steps]].sum(dim=0)
        for steps in QUALITIES.values()
        for root in range(12)
    ]
)


def sounding_time(cells: Tensor) -> Tensor:
    """Return the columns in which each pitch class sounds: (..., n, 88) bool to (..., 12).

    Two octaves of one class count twice.
    """
    return pitch_classes(cells.sum(dim=-2))


def bass_time(cells: Tensor) -> Tensor:
    """Return the columns in which each class is the lowest note: (..., n, 88) to (..., 12)."""
    lowest = PITCH_CLASS.to(cells.device)[cells.to(torch.uint8).argmax(dim=-1)]
    played = cells.any(dim=-1).float()
    return played.new_zeros(*cells.shape[:-2], 12).scatter_add_(-1, lowest, played)


def fit(duration: Tensor, bass: Tensor) -> Tensor:
    """Return the triad numbers 0..36 of windows, (...) int64; the first on ties.

    Args:
        duration: (..., 12) sounding time of the pitch classes, in whole columns.
        bass: (..., 12) time in which each is the lowest.
    """
    best = scores(duration, bass).argmax(dim=-1)
    return torch.where(duration.sum(dim=-1) > 0, best + 1, 0)


def scores(duration: Tensor, bass: Tensor) -> Tensor:
    """Return how well every triad fits windows, (..., 36); arguments as in `fit`."""
    inside = duration @ TRIADS.to(duration.device).T
    scale = (3 * duration.square().sum(dim=-1, keepdim=True)).sqrt().clamp(min=1e-12)
    share = bass / bass.sum(dim=-1, keepdim=True).clamp(min=1)
    return inside / scale + BASS_WEIGHT * torch.cat([share] * len(QUALITIES), dim=-1)
