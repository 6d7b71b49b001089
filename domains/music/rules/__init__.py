"""Rules of music: what a piece has to obey, as energies of piano rolls.

A rule is chosen by text, `name=target`, with options before the target:

    pitch_histogram=C:.5,E:.25,G:.25
    note_density=window=32; vertical:3,horizontal:12
    chord_progression=key=C major; I-V-vi-IV    (or chords=I-V-vi-IV)

`parse_rule` turns such text into an energy, `rule_sum` several of them into a weighted sum.
A new rule is a new file and a row in `RULES`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from math import isfinite
from typing import Any

from domains.music.rules.chord_names import Chords
from domains.music.rules.chord_tones import ChordTones
from domains.music.rules.chords import ChordProgression, is_progression
from domains.music.rules.density import NoteDensity
from domains.music.rules.leap import Leap
from domains.music.rules.parallels import Parallels
from domains.music.rules.pitch import PitchHistogram
from domains.music.rules.pitch_range import PitchRange
from domains.music.rules.polyphony import Polyphony
from domains.music.rules.rhythm import Rhythm
from domains.music.rules.rule import Rule, RuleEnergy, guiding
from domains.music.rules.scale import InKey
from guided.energy import Energy, WeightedSum

__all__ = [
    "RULES",
    "Rule",
    "RuleEnergy",
    "guiding",
    "make_rule",
    "parse_rule",
    "parse_weight",
    "rule_sum",
]

RULES: dict[str, type[Rule]] = {
    "pitch_histogram": PitchHistogram,
    "note_density": NoteDensity,
    "chord_progression": ChordProgression,
    "chord_tones": ChordTones,
    "chords": Chords,
    "key": InKey,
    "pitch_range": PitchRange,
    "polyphony": Polyphony,
    "rhythm": Rhythm,
    "leap": Leap,
    "parallels": Parallels,
}


def make_rule(name: str, **options: Any) -> Rule:
    """Build a rule by name.

    Args:
        name: a key of `RULES`.
        options: fields of that rule; those not given keep their defaults.

    Raises:
        ValueError: for an unknown name, an unknown option, or an option out of range.
    """
    rule = RULES[_known(name, list(RULES), "rule")]
    names = [field.name for field in fields(rule)]  # type: ignore[arg-type]
    for option in options:
        _known(option, names, f"option of {name}")
    return rule(**options)


def parse_rule(text: str, columns: int) -> RuleEnergy:
    """Return the energy that text such as "chord_progression=key=C major; I-V-vi-IV" asks for.

    Args:
        text: `name=target`, with any number of `option=value;` before the target.
        columns: length T of the rolls to judge.

    Raises:
        ValueError: if the name, an option or the target is wrong.
    """
    name, equals, value = text.partition("=")
    if name.strip() == "chords" and is_progression(value):
        name = ChordProgression.name
    _known(name.strip(), list(RULES), "rule")
    if not equals or not value.strip():
        raise ValueError(f"rule {text!r} has no target; give {name.strip()}=target")
    *settings, target = value.split(";")
    options = {}
    for setting in settings:
        option, equals, choice = setting.partition("=")
        if not equals:
            raise ValueError(
                f"rule {text!r} has {setting.strip()!r} where an option belongs; give option=value"
            )
        options[option.strip()] = _value(choice.strip())
    rule = make_rule(name.strip(), **options)
    return RuleEnergy(rule, rule.parse(target.strip(), columns))


def parse_weight(text: str) -> tuple[str, float]:
    """Return name and weight of text such as "note_density=2".

    Raises:
        ValueError: if it is not a name and a number of 0 or more.
    """
    name, _, number = text.partition("=")
    try:
        weight = float(number)
    except ValueError:
        weight = -1.0
    if not (isfinite(weight) and weight >= 0):
        raise ValueError(f"weight {text!r} is not name=number with a number of 0 or more")
    return name.strip(), weight


def rule_sum(
    rules: Sequence[str],
    weights: Sequence[str],
    columns: int,
    others: Mapping[str, Energy] | None = None,
) -> WeightedSum:
    """Return the weighted sum of rules, as typed; a rule without a weight has its default.

    Args:
        rules: texts for `parse_rule`.
        weights: texts for `parse_weight`, of rules in the sum.
        columns: length T of the rolls to judge.
        others: more energies of rolls by name, such as rules of the user (of weight 1).

    Raises:
        ValueError: if a text is wrong, or two rules have the same name.
    """
    terms: dict[str, Energy] = dict(others or {})
    for text in rules:
        energy = parse_rule(text, columns)
        if energy.rule.name in terms:
            raise ValueError(f"rule {energy.rule.name} is given twice; give each rule once")
        terms[energy.rule.name] = energy
    chosen = {
        name: energy.rule.weight if isinstance(energy, RuleEnergy) else 1.0
        for name, energy in terms.items()
    }
    for text in weights:
        name, weight = parse_weight(text)
        chosen[_known(name, list(terms), "rule of this run")] = weight
    return WeightedSum(terms, chosen)


def _known(name: str, names: Sequence[str], what: str) -> str:
    """Return the name if it is in `names`.

    Raises:
        ValueError: that lists them, the closest one first.
    """
    if name in names:
        return name
    close = get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    raise ValueError(f"{name!r} is no {what}; {hint}there are: {', '.join(names) or 'none'}")


def _value(text: str) -> int | float | str | None:
    """Read an option: a whole number, a number, none, or text."""
    if text.lower() == "none":
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
