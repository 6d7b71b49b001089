"""Key: the share of notes outside a scale."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from domains.music.roll import Rolls
from domains.music.rules.harmony.key import best_key
from domains.music.rules.names import MAJOR, MINOR, PITCH_CLASSES, SCALES, scale
from domains.music.rules.rule import Rule
from domains.music.rules.sounding import pitch_classes, sounding, starts


@dataclass(frozen=True)
class InKey(Rule):
    """Features (B, 12): the share of the notes on each pitch class; all 0 for an empty roll.

    The target (12,) is 1 on the pitch classes of a scale. The loss, in [0, 1], is the share of the
    notes outside it: 0 means that no note is foreign. An empty roll has loss 0.
    """

    name: ClassVar[str] = "key"

    def measure(self, rolls: Rolls) -> Tensor:
        """Return the shares (B, 12)."""
        notes = pitch_classes(starts(rolls).sum(dim=1))
        return notes / notes.sum(dim=-1, keepdim=True).clamp(min=1)

    def parse(self, text: str, columns: int) -> Tensor:
        """Read a key such as "A minor", "C harmonic minor" or "D dorian".

        Raises:
            ValueError: for an unknown scale.
        """
        tonic, name = scale(text)
        return _members(tonic, SCALES[name])

    def loss(self, features: Tensor, target: Tensor) -> Tensor:
        """Return the share (B,) of notes outside the scale."""
        return (features * (1 - target)).sum(dim=-1)

    def show(self, features: Tensor) -> str:
        """Return the pitch classes in use."""
        used = [PITCH_CLASSES[c] for c in range(12) if features[c] > 0]
        return " ".join(used) or "silent"

    def target_from(self, rolls: Rolls) -> Tensor:
        """Return the major or natural minor scale of the first roll's estimated key."""
        time = pitch_classes(sounding(rolls)[:1].sum(dim=1))
        key = int(best_key(time)[0])
        return _members(key % 12, MINOR if key >= 12 else MAJOR)


def _members(tonic: int, steps: tuple[int, ...]) -> Tensor:
    members = torch.zeros(12)
    members[[(tonic + step) % 12 for step in steps]] = 1
    return members
