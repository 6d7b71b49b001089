r"""Scale degrees as music21 gives them: by the letters of spelled pitches.

MIDI pitches are spelled C C# D E- E F F# G G# A B- B. The root of a chord depends on the set of its
letters alone: a stack of thirds has its lowest as root; otherwise the letter with the best score of
3rds, 5ths, 7ths, 9ths, 11ths and 13ths above it, the lowest-sounding one on ties; with all seven
letters the bass. The degree is letter(root) - letter(tonic) + 1. So A-flat major is G#-C-E- here,
a chord on C: degrees are not invariant under transposition.

Letters are numbered C = 0 to B = 6; a letter set is 7 bits, bit i for letter i.

Source: Cuthbert and Ariza, "music21", ISMIR 2010, https://www.music21.org; its
    chord.Chord.root and roman.romanNumeralFromChord (version 10).
"""

import torch
from torch import Tensor

from domains.music.roll import PITCHES
from domains.music.rules.sounding import PITCH_CLASS

LETTER = torch.tensor([0, 0, 1, 2, 2, 3, 3, 4, 4, 5, 6, 6])  # letter of a pitch class
TONIC_LETTER = torch.tensor(  # of the 24 keys: A-flat major, but G-sharp minor
    [0, 0, 1, 2, 2, 3, 3, 4, 5, 5, 6, 6, 0, 0, 1, 2, 2, 3, 3, 4, 4, 5, 6, 6]
)
_STEP_SCORE = {2: 1 / 6, 4: 1 / 7, 6: 1 / 8, 1: 1 / 9, 3: 1 / 10, 5: 1 / 11}  # 3rd, 5th, 7th, ...
_ABSENT, _STACK = -1.0, 10.0


def _rootness(letters: int, root: int) -> float:
    """Score a letter as the root of a letter set; more is better."""
    steps = {(letter - root) % 7 for letter in range(7) if letters >> letter & 1}
    if 0 not in steps:
        return _ABSENT
    if len(steps) == 7:
        return 0.0  # all tie: the bass wins
    if steps == {2 * i % 7 for i in range(len(steps))}:
        return _STACK
    return sum(_STEP_SCORE[step] for step in steps if step)


ROOTNESS = torch.tensor([[_rootness(s, r) for r in range(7)] for s in range(128)])  # (128, 7)


def root_letter(chord: Tensor) -> Tensor:
    """Return the root's letter 0..6 of chords (..., 88) bool, as (...) int64; empty ones give 0."""
    letter = LETTER[PITCH_CLASS].to(chord.device)  # (88,)
    row = torch.arange(PITCHES, device=chord.device)
    height = torch.where(chord, row, PITCHES)  # silent keys lie above all
    lowest = torch.stack([height[..., letter == i].amin(dim=-1) for i in range(7)], dim=-1)
    letters = ((lowest < PITCHES) * 2 ** torch.arange(7, device=chord.device)).sum(dim=-1)
    # distinct scores differ by more than 1e-3: height decides ties only
    score = ROOTNESS.to(chord.device)[letters] - 1e-5 * lowest
    return score.argmax(dim=-1)


def degrees(chord: Tensor, key: Tensor) -> Tensor:
    """Return the degrees 1..7 of chords (B, W, 88) in keys (B,), 0 for an empty chord."""
    tonic = TONIC_LETTER.to(key.device)[key]
    degree = (root_letter(chord) - tonic[:, None]) % 7 + 1
    return torch.where(chord.any(dim=-1), degree, 0)


def longest_slice(cells: Tensor, cut: Tensor, window: int) -> Tensor:
    """Return the notes of the longest slice of every window; the first on ties.

    A slice is a stretch of columns between cuts; what it has in a window is its length there.

    Args:
        cells: (B, T, 88) bool, what sounds; the same in all columns of a slice.
        cut: (B, T) bool, true where a slice begins.
        window: columns per window.

    Returns:
        (B, W, 88) bool; nothing for a silent window.
    """
    run = cut.unflatten(1, (-1, window)).long().cumsum(dim=-1)  # (B, W, n): slice number, from 0
    played = cells.any(dim=-1).unflatten(1, (-1, window))
    length = torch.zeros(*run.shape[:2], window + 1, device=run.device)
    length.scatter_add_(-1, run, played.float())
    longest = length.argmax(dim=-1, keepdim=True)
    column = ((run == longest) & played).to(torch.uint8).argmax(dim=-1)  # its first column
    column = column + window * torch.arange(column.shape[1], device=column.device)
    return cells.gather(1, column[..., None].expand(-1, -1, PITCHES))
