"""Pitch range: the share of notes below or above a range of piano keys."""

import re
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from domains.music.roll import LOWEST, PITCHES, Rolls
from domains.music.rules.names import midi_note, note_name
from domains.music.rules.rule import Rule
from domains.music.rules.sounding import starts


@dataclass(frozen=True)
class PitchRange(Rule):
    """Features (B, 88): the share of the notes on each piano key; all 0 for an empty roll.

    The target (2,) is the lowest and the highest MIDI number allowed. The loss, in [0, 1], is the
    share of the notes outside: 0 means that all lie inside. An empty roll has loss 0.
    """

    name: ClassVar[str] = "pitch_range"

    def measure(self, rolls: Rolls) -> Tensor:
        """Return the shares (B, 88)."""
        notes = starts(rolls).sum(dim=1).float()
        return notes / notes.sum(dim=-1, keepdim=True).clamp(min=1)

    def parse(self, text: str, columns: int) -> Tensor:
        """Read "C3-C6" or "48-84".

        Raises:
            ValueError: if the text is no range of piano keys.
        """
        match = re.fullmatch(r"([^-\u2013]+)[-\u2013]([^-\u2013]+)", text.strip())
        if match is None:
            raise ValueError(f"pitch_range got {text!r}; give a range such as C3-C6 or 48-84")
        low, high = midi_note(match[1]), midi_note(match[2])
        if low > high:
            raise ValueError(f"pitch_range got {text!r}; give the lower end first")
        return torch.tensor([low, high])

    def loss(self, features: Tensor, target: Tensor) -> Tensor:
        """Return the share (B,) of notes outside the range."""
        note = torch.arange(PITCHES, device=features.device) + LOWEST
        outside = (note < target[0]) | (note > target[1])
        return (features * outside).sum(dim=-1)

    def show(self, features: Tensor) -> str:
        """Return the lowest and the highest note."""
        notes = features.nonzero().flatten().tolist()
        if not notes:
            return "silent"
        return f"{note_name(notes[0] + LOWEST)}-{note_name(notes[-1] + LOWEST)}"

    def show_target(self, target: Tensor) -> str:
        """Return the range."""
        low, high = target.tolist()
        return f"{note_name(low)}-{note_name(high)}"

    def target_from(self, rolls: Rolls) -> Tensor:
        """Return the range of the first roll.

        Raises:
            ValueError: if it is silent.
        """
        notes = starts(rolls)[0].any(dim=0).nonzero().flatten()
        if len(notes) == 0:
            raise ValueError("pitch_range got a silent roll to copy from; give one with notes")
        return torch.stack([notes[0], notes[-1]]) + LOWEST
