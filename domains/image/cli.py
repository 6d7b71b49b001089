"""``guided-image``: pictures, and fields that obey a simulator."""

from typing import Annotated

import tyro
from tyro.conf import subcommand

from domains.image.commands.demo import Demo
from domains.image.commands.generate import Generate
from domains.image.commands.invert import Invert
from domains.image.commands.invert_table import InvertTable
from domains.image.commands.recover_flow import RecoverFlow
from domains.image.commands.sweep import Sweep
from domains.image.commands.train import Train
from domains.image.commands.train_classifier import TrainClassifier
from domains.image.commands.train_flow import TrainFlow
from guided.command import in_words

Command = (
    Annotated[Generate, subcommand("generate")]
    | Annotated[Invert, subcommand("invert")]
    | Annotated[InvertTable, subcommand("invert-table")]
    | Annotated[Sweep, subcommand("sweep")]
    | Annotated[Demo, subcommand("demo")]
    | Annotated[Train, subcommand("train")]
    | Annotated[TrainClassifier, subcommand("train-classifier")]
    | Annotated[TrainFlow, subcommand("train-flow")]
    | Annotated[RecoverFlow, subcommand("recover-flow")]
)


def main(args: list[str] | None = None) -> None:
    """Run one command; a user's mistake is one sentence and exit status 1."""
    with in_words("guided-image"):
        command = tyro.cli(
            Command,
            prog="guided-image",
            description="Images and fields that obey measurements.",
            args=args,
        )
        command.run()
