"""Forms: one template says how a value is read from a line, written back, and shown in an error.

A template holds words, fields `{name:kind}` and options `[...]`, as in
`goal {point:point} [at {time:time}]`. An option is a field that is None where it is left out.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any, ClassVar, TypeVar

from domains.trajectory.costs.words import KINDS, Cursor, Misfit, Word

_PART = re.compile(r"\{(\w+):(\w+)\}|(\[)|(\])|([^\s\[\]{}]+)")


@dataclass(frozen=True)
class Field:
    """A value of a template: its name and its kind, a key of ``KINDS``."""

    name: str
    kind: str


@dataclass(frozen=True)
class Option:
    """A part of a template that may be left out."""

    items: tuple["str | Field", ...]


Item = str | Field | Option


@cache
def items(template: str) -> tuple[Item, ...]:
    """Return the parts of a template."""
    found: list[Item] = []
    option: list[str | Field] | None = None
    for name, kind, opens, closes, word in _PART.findall(template):
        if opens:
            option = []
        elif closes and option is not None:
            found.append(Option(tuple(option)))
            option = None
        else:
            (found if option is None else option).append(word or Field(name, kind))
    return tuple(found)


def shown(template: str) -> str:
    """Return a template for people, as in `goal (x, y) [at t s]`."""
    return re.sub(r"\{\w+:(\w+)\}", lambda match: KINDS[match.group(1)].shown, template)


@dataclass(frozen=True)
class Form:
    """A value that is written as one template; subclasses are dataclasses with its fields."""

    form: ClassVar[str]

    def __str__(self) -> str:
        values = vars(self)
        return " ".join(_written(items(self.form), values)).replace(" ,", ",").replace(" :", ":")


def _written(parts: Iterable[Item], values: dict[str, Any]) -> Iterable[str]:
    for part in parts:
        if isinstance(part, str):
            yield part
        elif isinstance(part, Field):
            yield KINDS[part.kind].write(values[part.name])
        elif all(values[f.name] is not None for f in part.items if isinstance(f, Field)):
            yield from _written(part.items, values)


F = TypeVar("F", bound=Form)


def read(cursor: Cursor, forms: Sequence[type[F]]) -> F:
    """Return the value of the form that fits the next words, up to ``;``, ``*`` or the end.

    Raises:
        Misfit: at the word up to which some form fits, with that form.
    """
    misfits = []
    for form in forms:
        trial = Cursor(cursor.words, cursor.index)
        try:
            values = _values(trial, items(form.form))
            if trial.next not in ("", ";", "*"):
                raise Misfit(trial.index, '";" or the end')
        except Misfit as error:
            misfits.append((error.index, error.expected, form))
            continue
        cursor.index = trial.index
        return form(**values)
    raise _worded(cursor, misfits)


def _values(cursor: Cursor, parts: Iterable[Item]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part in parts:
        if isinstance(part, str):
            cursor.need(part)
        elif isinstance(part, Field):
            found[part.name] = KINDS[part.kind].read(cursor)
        else:
            found |= _option(cursor, part)
    return found


def _option(cursor: Cursor, option: Option) -> dict[str, Any]:
    """Read an option; it is left out where its first word is not there."""
    if cursor.next.lower() != option.items[0]:
        return {}
    return _values(cursor, option.items)


def _worded(cursor: Cursor, misfits: list[tuple[int, str, type[F]]]) -> Misfit:
    """Return the misfit of the forms that come farthest."""
    farthest = max(index for index, _, _ in misfits)
    if farthest == cursor.index:
        firsts = list(dict.fromkeys(form.form.split()[0] for _, _, form in misfits))
        close = get_close_matches(cursor.next.lower(), firsts, n=1, cutoff=0.5)
        near = [shown(f.form) for _, _, f in misfits if close and f.form.split()[0] == close[0]]
        if near:
            return Misfit(farthest, f'"{close[0]}", as in: {" or ".join(near)}')
        return Misfit(farthest, "one of " + ", ".join(firsts))
    best = [(expected, form) for index, expected, form in misfits if index == farthest]
    wanted = " or ".join(dict.fromkeys(expected for expected, _ in best))
    return Misfit(farthest, f"{wanted}, as in: {' or '.join(shown(f.form) for _, f in best)}")


def fault(line: str, words: Sequence[Word], misfit: Misfit, number: int = 1) -> ValueError:
    """Return the error that quotes a line and points at the word that does not fit."""
    if misfit.index < len(words):
        word = words[misfit.index]
        place = f"got {word.text!r} at character {word.at + 1}"
    else:
        place = "got the end of the line"
    return ValueError(f"line {number}, {line.strip()!r}: {place}, expected {misfit.expected}")
