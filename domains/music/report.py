"""What came out of a run: for every clip and rule the error, the found and the asked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from domains.music.plots import Curve, Labels
from domains.music.roll import Rolls
from domains.music.rules import RuleEnergy
from domains.music.rules.chord_names import Chords
from domains.music.rules.chords import NUMERALS, ChordProgression
from domains.music.rules.density import NoteDensity
from guided.blackbox import BlackBox
from guided.energy import Energy, WeightedSum


@dataclass(frozen=True)
class Finding:
    """One rule on one clip.

    Args:
        error: the rule's loss; 0 = obeyed.
        found: what the clip has, in words ("" for a user's rule).
        asked: what was asked, in words.
    """

    error: float
    found: str
    asked: str


def findings(rules: WeightedSum, rolls: Rolls) -> list[dict[str, Finding]]:
    """Return, for every clip, the finding of every rule."""
    errors = rules.report(rolls)
    texts = {name: _texts(energy, rolls) for name, energy in rules.terms.items()}
    return [
        {name: Finding(errors[name][clip].item(), *texts[name][clip]) for name in rules.terms}
        for clip in range(len(rolls.velocity))
    ]


def _texts(energy: Energy, rolls: Rolls) -> list[tuple[str, str]]:
    if not isinstance(energy, RuleEnergy):
        return [("", "")] * len(rolls.velocity)
    asked = energy.rule.show_target(energy.target)
    return [(energy.rule.show(row), asked) for row in energy.rule.measure(rolls)]


def overlays(
    rules: WeightedSum | None, rolls: Rolls, clip: int
) -> tuple[list[Labels], list[Curve]]:
    """Return what a picture of one clip shows: chords by bar, density by bar, against the asked."""
    labels, curves = [], []
    for energy in rules.terms.values() if rules else ():
        if not isinstance(energy, RuleEnergy):
            continue
        features, target = energy.rule.measure(rolls)[clip], energy.target
        if isinstance(energy.rule, ChordProgression):
            found, asked = ([NUMERALS[d] for d in row.tolist()] for row in (features, target))
            labels.append(Labels("degree", found, asked))
        elif isinstance(energy.rule, Chords):
            found, asked = (energy.rule.show(row).split("-") for row in (features, target))
            labels.append(Labels("chord", found, asked))
        elif isinstance(energy.rule, NoteDensity):
            curves += _density(energy.rule, features, target)
    return labels, curves


def _density(rule: NoteDensity, features: torch.Tensor, target: torch.Tensor) -> list[Curve]:
    found, asked = features.unflatten(-1, (2, -1)), target.unflatten(-1, (2, -1))
    curves = []
    for axis, name, scale in (
        (0, "notes sounding", 1.0),
        (1, "starts a bar", rule.horizontal_scale),
    ):
        wanted = (asked[axis] * scale).tolist()
        free = all(x != x for x in wanted)
        curves.append(Curve(name, (found[axis] * scale).tolist(), None if free else wanted))
    return curves


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as aligned text, the first one a headline."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "  ".join("-" * w for w in widths), *lines[1:]])


def failures(rules: WeightedSum | None) -> dict[str, dict[str, Any]]:
    """Return how often the user's own rules failed, by rule and kind, with the first message."""
    terms = rules.terms.items() if rules else ()
    return {
        name: {
            kind: {"count": n, "first": box.messages.get(kind, "")}
            for kind, n in box.failures.items()
        }
        for name, box in terms
        if isinstance(box, BlackBox) and box.failures
    }
