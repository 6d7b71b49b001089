"""Text as words, and how numbers, points and names are read from it and written back."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from domains.trajectory import scene

Point = tuple[float, float]

_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|->|[<>]=?|[(),:;=*]|(?:(?!->)[^\s"(),:;=*<>#])+|#.*|\S')
_NUMBER = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(.*)", re.DOTALL)
_PLAIN = re.compile(r'(?:(?!->)[^\s"(),:;=*<>#])+')


class Word(NamedTuple):
    """A word of a line.

    Args:
        text: as it was written.
        at: its first character in the line, from 0.
    """

    text: str
    at: int


class Misfit(Exception):
    """A word that does not fit; caught by who reads the line, who words the error.

    Args:
        index: of the word.
        expected: what would have fit, in words.
    """

    def __init__(self, index: int, expected: str) -> None:
        super().__init__(expected)
        self.index, self.expected = index, expected


def words(line: str) -> list[Word]:
    """Return the words of a line, without its comment (from #)."""
    found = [Word(match.group(), match.start()) for match in _WORD.finditer(line)]
    return [word for word in found if not word.text.startswith("#")]


class Cursor:
    """A place in the words of a line.

    Args:
        words: of the line.
        index: of the next one.
    """

    def __init__(self, words: list[Word], index: int = 0) -> None:
        self.words, self.index = words, index

    @property
    def next(self) -> str:
        """Return the next word, empty at the end."""
        return self.words[self.index].text if self.index < len(self.words) else ""

    def take(self, expected: str) -> str:
        """Return the next word and go on; the misfit says what was expected at the end."""
        if not self.next:
            raise Misfit(self.index, expected)
        self.index += 1
        return self.words[self.index - 1].text

    def skip(self, *literals: str) -> bool:
        """Go past the next word if it is one of those, and say whether it was."""
        fits = self.next.lower() in literals
        self.index += fits
        return fits

    def need(self, literal: str) -> None:
        """Go past a word that has to be there."""
        if not self.skip(literal):
            raise Misfit(self.index, f'"{literal}"')


@dataclass(frozen=True)
class Kind:
    """How values of a kind are read and written.

    Args:
        read: takes it from a cursor.
        write: as text that is read as the same value.
        shown: stands for it in a form.
    """

    read: Callable[[Cursor], Any]
    write: Callable[[Any], str]
    shown: str


def written(value: float) -> str:
    """Return a number that is read back bit by bit."""
    return repr(float(value)).removesuffix(".0")


def quoted(text: str) -> str:
    """Return a name, in quotes where it would not be read as one word."""
    return text if _PLAIN.fullmatch(text) else json.dumps(text)


def number(cursor: Cursor, expected: str = "a number", units: tuple[str, ...] = ()) -> float:
    """Take a number, of which one of some units may follow, and drop that.

    Raises:
        Misfit: for anything else.
    """
    text = cursor.take(expected)
    match = _NUMBER.fullmatch(text)
    if not match or match.group(2) not in ("", *units):
        raise Misfit(cursor.index - 1, expected)
    if not match.group(2) and units:
        cursor.skip(*units)
    return float(match.group(1))


def _amount(expected: str, shown: str, *units: str) -> Kind:
    """Return a number whose unit may follow; it is written for seconds alone."""
    unit = " s" if units[:1] == ("s",) else ""
    return Kind(
        lambda cursor: number(cursor, expected, units),
        lambda value: written(value) + unit,
        shown + unit,
    )


def name(cursor: Cursor, expected: str = "a name") -> str:
    """Take a name: a word, or anything in double quotes.

    Raises:
        Misfit: for a sign.
    """
    text = cursor.take(expected)
    if text.startswith('"') and len(text) > 1:
        try:
            return json.loads(text)
        except json.JSONDecodeError:
            raise Misfit(cursor.index - 1, f"{expected} in quotes as JSON has them") from None
    if not _PLAIN.fullmatch(text):
        raise Misfit(cursor.index - 1, expected)
    return text


def _agent(cursor: Cursor) -> str:
    cursor.need("agent")
    return name(cursor, "the id of an agent")


def _point(cursor: Cursor) -> Point:
    if not cursor.skip("("):
        raise Misfit(cursor.index, "a point (x, y)")
    x = number(cursor)
    cursor.need(",")
    y = number(cursor)
    cursor.need(")")
    return x, y


def _points(cursor: Cursor) -> tuple[Point, ...]:
    found = [_point(cursor), _point(cursor)]
    while cursor.next == "(":
        found.append(_point(cursor))
    return tuple(found)


def _target(cursor: Cursor) -> Point | str:
    if cursor.next.lower() == "agent":
        return _agent(cursor)
    if cursor.next != "(":
        raise Misfit(cursor.index, 'a point (x, y) or "agent"')
    return _point(cursor)


def _lanes(cursor: Cursor) -> tuple[str, ...]:
    found = [name(cursor, "the id of a lane")]
    while cursor.skip("->"):
        found.append(name(cursor, "the id of a lane"))
    return tuple(found)


def _sided(plus: str, minus: str) -> Kind:
    """Return a length in one of two directions, of which the second is written as negative."""

    def read(cursor: Cursor) -> float:
        value = number(cursor, "a number of metres", ("m",))
        if cursor.next.lower() not in (plus, minus):
            raise Misfit(cursor.index, f'"{plus}" or "{minus}"')
        return value if cursor.take("").lower() == plus else -value

    return Kind(read, lambda value: f"{written(value)} {plus}", f"x {plus}")


def _chosen(*choices: str) -> Kind:
    def read(cursor: Cursor) -> str:
        if cursor.next not in choices:
            raise Misfit(cursor.index, " or ".join(f'"{choice}"' for choice in choices))
        return cursor.take("")

    return Kind(read, str, "|".join(choices))


def _show_point(point: Point) -> str:
    return f"({written(point[0])}, {written(point[1])})"


def _show_points(points: tuple[Point, ...]) -> str:
    return " ".join(map(_show_point, points))


KINDS: dict[str, Kind] = {
    "number": Kind(number, written, "x"),
    "time": _amount("a number of seconds", "t", "s"),
    "length": _amount("a number of metres", "d", "m"),
    "speed": _amount("a speed in m/s", "v", "m/s"),
    "acceleration": _amount("an acceleration in m/s^2", "a", "m/s^2", "m/s2"),
    "jerk": _amount("a jerk in m/s^3", "j", "m/s^3", "m/s3"),
    "name": Kind(name, quoted, "id"),
    "agent": Kind(_agent, lambda id: f"agent {quoted(id)}", "agent id"),
    "point": Kind(_point, _show_point, "(x, y)"),
    "ends": Kind(lambda cursor: (_point(cursor), _point(cursor)), _show_points, "(x, y) (x, y)"),
    "points": Kind(_points, _show_points, "(x, y) (x, y) ..."),
    "target": Kind(
        _target,
        lambda it: f"agent {quoted(it)}" if isinstance(it, str) else _show_point(it),
        "(x, y)|agent id",
    ),
    "lanes": Kind(_lanes, lambda ids: " -> ".join(map(quoted, ids)), "id -> id ..."),
    "ahead": _sided("ahead", "behind"),
    "left": _sided("left", "right"),
    "sign": _chosen("<=", ">=", "="),
    "kind": _chosen(*scene.KINDS),
}
