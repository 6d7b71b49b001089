"""A user's own rule: a plain Python function of one roll.

    def few_notes(roll):                 # (T, 88) uint8 velocities, 0 = silent
        return abs((roll > 0).mean() - 0.05)

    def no_repeats(roll, onset):         # and (T, 88) bool, true where notes start
        ...

    def short(midi: pretty_midi.PrettyMIDI):    # or a parameter with the name midi
        return max(0.0, midi.get_end_time() - 10)

The function returns a loss, 0 = obeyed. Parameters with a default value keep it. As an energy:

    BlackBox(load_user_rule("my_rules.py:few_notes"), timeout=1.0, convert=to_arrays)
"""

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import torch

from domains.music.roll import MAX_VELOCITY, Grid, Roll, Rolls

Reads = Literal["roll", "roll and onset", "midi"]


@dataclass(frozen=True)
class UserRule:
    """A user's function behind one call on one array; processes can send it to each other.

    Args:
        path: Python file.
        function: name of a function in it.
        grid: time grid of the rolls; only a function of a MIDI object needs it.
        tempo: beats a minute; the same.

    Raises:
        ValueError: if the file or the function is missing, does not load, or has parameters of
            another kind.
    """

    path: Path
    function: str
    grid: Grid = Grid()
    tempo: float = 120.0

    def __post_init__(self) -> None:
        """Load the function and look at its parameters."""
        _load(self.path, self.function)

    def __reduce__(self) -> tuple[type["UserRule"], tuple[Any, ...]]:
        """Load the file where a process receives the rule, not in the first call that it times."""
        return type(self), (self.path, self.function, self.grid, self.tempo)

    def __call__(self, array: np.ndarray) -> float:
        """Return the loss of one roll.

        Args:
            array: (2, T, 88) uint8, velocities 0..127 and onsets 0 or 1, as `to_arrays` packs them.

        Raises:
            TypeError: if the function does not return a number.
        """
        function, reads = _load(self.path, self.function)
        velocity, onset = array[0].astype(np.uint8), array[1] > 0  # copies: a user may write
        if reads == "midi":
            loss = function(Roll(velocity, onset, self.grid, self.tempo).to_midi())
        elif reads == "roll":
            loss = function(velocity)
        else:
            loss = function(velocity, onset)
        try:
            return float(loss)
        except (TypeError, ValueError):
            raise TypeError(
                f"{self.path}:{self.function} returned {type(loss).__name__}; return one number, "
                "0 where the rule is obeyed"
            ) from None


def load_user_rule(spec: str, grid: Grid | None = None, tempo: float = 120.0) -> UserRule:
    """Load a rule from text such as "my_rules.py:few_notes".

    Args:
        spec: file and function.
        grid: time grid of the rolls, for functions of a MIDI object; None is sixteenths in 4/4.
        tempo: beats a minute, for the same.

    Raises:
        ValueError: in one sentence, if there is no such function or it cannot be used.
    """
    path, colon, function = spec.rpartition(":")
    if not colon or not path or not function:
        raise ValueError(f"user rule {spec!r} is not file and function; give my_rules.py:my_rule")
    return UserRule(Path(path), function, grid or Grid(), tempo)


def to_arrays(rolls: Rolls) -> np.ndarray:
    """Pack rolls as (B, 2, T, 88) uint8: MIDI velocities 0..127, then onsets 0 or 1."""
    velocity = (rolls.velocity.detach() * MAX_VELOCITY).round().clamp(0, MAX_VELOCITY)
    pair = torch.stack([velocity.to(torch.uint8), rolls.onset.to(torch.uint8)], dim=1)
    return pair.cpu().numpy()


@lru_cache(maxsize=64)
def _load(path: Path, name: str) -> tuple[Callable[..., Any], Reads]:
    """Return a function of a Python file, and what it takes; the file is run once per process."""
    function = getattr(_run(path), name, None)
    if not callable(function):
        names = [key for key, item in vars(_run(path)).items() if inspect.isfunction(item)]
        raise ValueError(
            f"user rule file {path} has no function {name!r}; it has: {', '.join(names) or 'none'}"
        )
    return function, _reads(function, f"{path}:{name}")


@lru_cache(maxsize=64)
def _run(path: Path) -> ModuleType:
    """Run a Python file as a module."""
    if not path.is_file():
        raise ValueError(f"user rule file {path} does not exist; give the path of a Python file")
    spec = spec_from_file_location(f"user_rule:{path}", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"user rule file {path} is no Python file; give one that ends in .py")
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses of the file look themselves up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the user's file raises
        raise ValueError(
            f"user rule file {path} does not load ({type(error).__name__}: {error}); mend it"
        ) from error
    return module


def _reads(function: Callable[..., Any], where: str) -> Reads:
    """Tell by its parameters what a function takes."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = list(inspect.signature(function).parameters.values())
    given = [p for p in parameters if p.default is p.empty and p.kind in kinds]
    others = [p for p in parameters if p.default is p.empty and p.kind is p.KEYWORD_ONLY]
    if len(given) not in (1, 2) or others:
        names = ", ".join(p.name for p in given + others) or "none"
        raise ValueError(
            f"user rule {where} needs the parameters {names}; take (roll), (roll, onset) or (midi)"
        )
    if len(given) == 2:
        return "roll and onset"
    annotation = getattr(given[0].annotation, "__name__", str(given[0].annotation))
    return "midi" if given[0].name == "midi" or "PrettyMIDI" in annotation else "roll"
