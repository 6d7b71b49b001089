"""Costs and margins of an episode, from the infos that were recorded with it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

COST = "cost"
MARGINS = ("margin", "h")


def costs_of(where: str, infos: Mapping[str, Any] | None, steps: int) -> np.ndarray | None:
    """Return the costs of an episode's steps, (T,), float32, or None if its infos have none.

    Minari keeps the info of the reset in front of those of the steps, so that ``cost`` has T + 1
    entries, and that of step t is entry t + 1; T entries are those of the steps.

    Args:
        where: names the episode in messages.
        infos: of the episode, by name.
        steps: T.

    Raises:
        ValueError: for another length, or no numbers.
    """
    if not infos or COST not in infos:
        return None
    return _numbers(where, COST, infos[COST], (steps + 1, steps))[-steps:]


def margins_of(where: str, infos: Mapping[str, Any] | None, steps: int) -> np.ndarray | None:
    """Return the margins of an episode's states, (T + 1,), float32, or None if its infos have none.

    They are those under ``margin``, or else under ``h``, as the papers write it.

    Args:
        where: names the episode in messages.
        infos: of the episode, by name.
        steps: T.

    Raises:
        ValueError: for another length, or no numbers.
    """
    for name in MARGINS:
        if infos and name in infos:
            return _numbers(where, name, infos[name], (steps + 1,))
    return None


def joined(name: str, what: str, parts: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """Return what every episode has as one array; None if none has it.

    Args:
        name: of the data set.
        what: ``costs`` or ``margins``, for the message.
        parts: of every episode.

    Raises:
        ValueError: if some have it and some do not.
    """
    there = [part for part in parts if part is not None]
    if 0 < len(there) < len(parts):
        first = next(i for i, part in enumerate(parts) if part is None)
        raise ValueError(
            f"{name} has {what} in {len(there)} of {len(parts)} episodes (the first without is "
            f"episode {first}), expected all or none; remove the others, or collect them again"
        )
    return np.concatenate(there) if there else None


def _numbers(where: str, name: str, given: Any, lengths: tuple[int, ...]) -> np.ndarray:
    """Return (T + 1,) or (T,) numbers, also of an array with axes of one behind."""
    expected = " or ".join(map(str, lengths))
    try:
        found = np.asarray(given).astype(np.float32)
    except (TypeError, ValueError):
        raise ValueError(
            f"{where} has infos {name!r} that are no numbers, expected {expected}; collect it again"
        ) from None
    if found.shape[:1] not in [(length,) for length in lengths] or found.size != len(found):
        raise ValueError(
            f"{where} has infos {name!r} of shape {found.shape}, expected {expected} numbers; "
            f"collect it again"
        )
    return found.reshape(-1)
