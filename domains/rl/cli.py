"""``guided-rl``: policies learned from logged episodes."""

from collections.abc import Callable
from typing import Any

import tyro

from guided.command import in_words, packages_named


def main(args: list[str] | None = None) -> None:
    """Run one command; a user's mistake is one sentence and exit status 1."""
    with in_words("guided-rl"), packages_named("rl"):
        command = tyro.extras.subcommand_cli_from_dict(
            commands(),
            prog="guided-rl",
            description="Policies learned from logged episodes.",
            args=args,
        )
        command.run()


def commands() -> dict[str, Callable[..., Any]]:
    """Return the commands by name; imported late, as they need the packages of ``guided[rl]``."""
    from domains.rl.commands.bandits import Bandits
    from domains.rl.commands.collect import Collect
    from domains.rl.commands.demo import Demo
    from domains.rl.commands.evaluate import Evaluate
    from domains.rl.commands.off_policy import OffPolicy
    from domains.rl.commands.point_robot import PointRobotCommand
    from domains.rl.commands.train import Train

    return {
        "collect": Collect,
        "train": Train,
        "evaluate": Evaluate,
        "demo": Demo,
        "bandits": Bandits,
        "point-robot": PointRobotCommand,
        "off-policy": OffPolicy,
    }
