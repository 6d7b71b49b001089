"""``guided-music``: compose, infill, continue, measure, train, evaluate, demonstrate."""

from typing import Annotated

import tyro
from tyro.conf import subcommand

from domains.music.commands.demo import Demo
from domains.music.commands.evaluate import Evaluate
from domains.music.commands.make import Continue, Generate, Infill
from domains.music.commands.measure import Measure
from domains.music.commands.train import Train
from guided.command import in_words

Command = (
    Annotated[Generate, subcommand("generate")]
    | Annotated[Infill, subcommand("infill")]
    | Annotated[Continue, subcommand("continue")]
    | Annotated[Measure, subcommand("rules")]
    | Annotated[Train, subcommand("train")]
    | Annotated[Evaluate, subcommand("evaluate")]
    | Annotated[Demo, subcommand("demo")]
)


def main(args: list[str] | None = None) -> None:
    """Run one command; a user's mistake is one sentence and exit status 1."""
    command = tyro.cli(
        Command,
        prog="guided-music",
        description="Symbolic music that obeys rules.",
        args=args,
    )
    with in_words("guided-music"):
        command.run()
