"""``guided-rl``: policies learned from logged episodes."""

import sys
from collections.abc import Callable
from typing import Any

import tyro


def main(args: list[str] | None = None) -> None:
    """Run one command; a user's mistake is one sentence and exit status 1."""
    try:
        command = tyro.extras.subcommand_cli_from_dict(
            commands(),
            prog="guided-rl",
            description="Policies learned from logged episodes.",
            args=args,
        )
        command.run()
    except ModuleNotFoundError as error:
        package = (error.name or str(error)).partition(".")[0]
        sys.exit(f"guided-rl: needs the package {package}; pip install 'guided[rl]'")
    except (ValueError, OSError) as error:
        sys.exit(f"guided-rl: {error}")
    except KeyboardInterrupt:
        sys.exit("guided-rl: stopped")


def commands() -> dict[str, Callable[..., Any]]:
    """Return the commands by name; imported late, as they need the packages of ``guided[rl]``."""
    from domains.rl.commands.bandits import Bandits
    from domains.rl.commands.collect import Collect
    from domains.rl.commands.demo import Demo
    from domains.rl.commands.evaluate import Evaluate
    from domains.rl.commands.train import Train

    return {
        "collect": Collect,
        "train": Train,
        "evaluate": Evaluate,
        "demo": Demo,
        "bandits": Bandits,
    }
