"""``guided-bench``: measurements of the core, and of what else is installed.

Another package adds a command by an entry point of the group ``guided.bench``: a name and a class
with a method ``run``, whose fields are its options. Only the command that is asked for is loaded.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol

import tyro

from guided.bench.branches import Branches
from guided.bench.cep import Contrast
from guided.bench.ensemble import Ensemble
from guided.bench.pool import Busy
from guided.bench.posterior import Posterior
from guided.bench.speed import Speed
from guided.bench.tree import TreeBench
from guided.command import in_words

GROUP = "guided.bench"


class Command(Protocol):
    """What a command line makes of its options."""

    def run(self) -> None:
        """Measure and print."""
        ...


COMMANDS: dict[str, Callable[..., Command]] = {
    "speed": Speed,
    "posterior": Posterior,
    "pool": Busy,
    "ensemble": Ensemble,
    "cep": Contrast,
    "tree": TreeBench,
    "branches": Branches,
}


@dataclass(frozen=True)
class Elsewhere:
    """What stands in the list of commands for one of another package, which is not loaded."""

    def run(self) -> None:
        """Do nothing."""


def elsewhere(entry: EntryPoint) -> type[Elsewhere]:
    """Return a stand-in that tells where the command is."""
    says = f"A command of {entry.module}; guided-bench {entry.name} --help says more."
    return type(Elsewhere.__name__, (Elsewhere,), {"__doc__": says})


def main(args: list[str] | None = None) -> None:
    """Run one command; a user's mistake is one sentence and exit status 1."""
    asked = sys.argv[1:] if args is None else args
    with in_words("guided-bench"):
        command: Any = tyro.extras.subcommand_cli_from_dict(
            commands(asked[:1]),
            prog="guided-bench",
            description="Measurements of the core, and of what else is installed.",
            args=args,
        )
        command.run()


def commands(asked: list[str]) -> dict[str, Callable[..., Command]]:
    """Return all commands by name, the one that is asked for loaded.

    Args:
        asked: its name, or nothing.

    Raises:
        ValueError: if it does not load.
    """
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    others = {n: loaded(found[n]) if n in asked else elsewhere(found[n]) for n in sorted(found)}
    return {**others, **COMMANDS}


def loaded(entry: EntryPoint) -> Callable[..., Command]:
    """Return the class of a command.

    Raises:
        ValueError: in one sentence, whatever its package fails with.
    """
    try:
        return entry.load()
    except Exception as error:  # of any kind: it is code of others, missing or broken
        why = str(error).strip().split("\n")[0] or type(error).__name__
        raise ValueError(
            f"the command {entry.name!r} cannot be loaded from {entry.module} ({why}); install or "
            f"repair what it needs"
        ) from error
