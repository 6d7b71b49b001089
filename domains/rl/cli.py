"""``guided-rl``: policies learned from logged episodes."""

import sys
from collections.abc import Callable

import tyro

from domains.rl.commands.collect import Collect
from domains.rl.commands.demo import Demo
from domains.rl.commands.evaluate import Evaluate
from domains.rl.commands.train import Train

COMMANDS: dict[str, Callable[..., Collect | Train | Evaluate | Demo]] = {
    "collect": Collect,
    "train": Train,
    "evaluate": Evaluate,
    "demo": Demo,
}


def main(args: list[str] | None = None) -> None:
    """Run one command; a user's mistake is one sentence and exit status 1."""
    command = tyro.extras.subcommand_cli_from_dict(
        COMMANDS,
        prog="guided-rl",
        description="Policies learned from logged episodes.",
        args=args,
    )
    try:
        command.run()
    except (ValueError, OSError) as error:
        sys.exit(f"guided-rl: {error}")
    except KeyboardInterrupt:
        sys.exit("guided-rl: stopped")
