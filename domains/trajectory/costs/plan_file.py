"""Plans: a YAML file with edits of a scene and constraints on its future.

    edits:
      - agent 3: speed x 0.5
      - remove agent 4
    constraints:
      - agent 3: goal (12.0, 4.5) at 3.2 s; speed <= 2
      - {agent: 3, goal: [12.0, 4.5], at: 3.2, weight: 2}
      - {agents: [1, 4], apart: 3}

A constraint is a line of the language, or a mapping of its words in their order. Every scalar is
taken as its text, so that an id such as 007, yes or 1_000 stays what it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domains.trajectory.costs.edits import Edit, parse_edit
from domains.trajectory.costs.language import GROUPS, Constraint, parse
from domains.trajectory.costs.words import Cursor, Misfit, number, quoted, words


@dataclass(frozen=True)
class Plan:
    """What to change in a scene, and what to ask of its future.

    Args:
        constraints: may be none.
        edits: in their order; may be none.
    """

    constraints: tuple[Constraint, ...] = ()
    edits: tuple[Edit, ...] = ()


def read_plan(path: Path) -> Plan:
    """Return the plan of a YAML file.

    Raises:
        ValueError: for a file that cannot be read, is no YAML, has other parts than ``constraints``
            and ``edits``, or an entry that fits no form.
    """
    try:
        return plan_of(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read the plan {path} ({error}); give a YAML file") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def plan_of(text: str) -> Plan:
    """Return the plan of a YAML text.

    Raises:
        ValueError: as :func:`read_plan`.
    """
    import yaml

    try:
        found = yaml.load(text, yaml.BaseLoader)  # as safe, and without guesses at types
    except yaml.YAMLError as error:
        said = " ".join(str(error).split())
        raise ValueError(f"the plan is no YAML ({said}); mend it there") from None
    if not isinstance(found, dict) or set(found) - {"constraints", "edits"}:
        raise ValueError(
            f"a plan has the parts constraints and edits, got "
            f"{list(found) if isinstance(found, dict) else type(found).__name__}"
        )
    constraints, edits = (_lines(found, part) for part in ("constraints", "edits"))
    return Plan(
        constraints=tuple(c for i, line in enumerate(constraints, 1) for c in _numbered(line, i)),
        edits=tuple(parse_edit(line, i) for i, line in enumerate(edits, 1)),
    )


def _numbered(line: str, number: int) -> list[Constraint]:
    """Return the constraints of an entry, whose errors count entries."""
    return parse("\n" * (number - 1) + line)


def _lines(found: dict, part: str) -> list[str]:
    entries = found.get(part) or []
    if not isinstance(entries, list):
        raise ValueError(f"{part} are a list of lines, got {type(entries).__name__}; begin with -")
    return [as_line(entry) for entry in entries]


def as_line(entry: Any) -> str:
    """Return an entry of a plan as a line of the language.

    YAML reads ``- agent 3: speed <= 2`` as a mapping of one key, which is joined again.

    Raises:
        ValueError: for an entry that is neither a line nor a mapping with agents.
    """
    if isinstance(entry, str):
        return entry
    if not isinstance(entry, dict) or not entry:
        raise ValueError(f"an entry of a plan is a line or a mapping, got {entry!r}")
    if len(entry) == 1:
        ((key, value),) = entry.items()
        return f"{key}: {value}"
    (who, ids), *rest = entry.items()
    head = who
    if who not in GROUPS:
        head = f"{who} {' and '.join(_id(i) for i in _many(ids))}"
    parts = [f"* {_text(value)}" if key == "weight" else _demand(key, value) for key, value in rest]
    return f"{head}: {' '.join(parts)}"


def _demand(key: str, value: Any) -> str:
    if key == "speed" and _is_number(value):
        return f"speed = {_text(value)}"
    if key in ("acceleration", "jerk") and _is_number(value):
        return f"{key} <= {_text(value)}"
    if str(key).endswith("lane") and isinstance(value, list):
        return f"{key} {' -> '.join(map(_id, value))}"
    return f"{key} {_text(value)}".strip()


def _is_number(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    cursor = Cursor(words(value))
    try:
        number(cursor)
    except Misfit:
        return False
    return not cursor.next


def _id(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"an id in a plan is a word or a number, got {value!r}; write it so")
    return quoted(value)


def _many(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [value]


def _text(value: Any) -> str:
    """Return a value of YAML in words: true is nothing more to say, a list of two is a point."""
    if value == "true":
        return ""
    if isinstance(value, list) and value and isinstance(value[0], list):
        return " ".join(map(_text, value))
    if isinstance(value, list):
        return f"({', '.join(map(_text, value))})"
    return str(value)
