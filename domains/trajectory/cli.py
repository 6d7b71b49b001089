"""``guided-trajectory``: joint forecasts of a scene, and what if they did otherwise."""

from collections.abc import Callable
from typing import Any

import tyro

from guided.command import in_words, packages_named


def main(args: list[str] | None = None) -> None:
    """Run one command; a user's mistake is one sentence and exit status 1."""
    with in_words("guided-trajectory"), packages_named("trajectory"):
        command = tyro.extras.subcommand_cli_from_dict(
            commands(),
            prog="guided-trajectory",
            description="Joint forecasts of everybody in a scene, and what if they did otherwise.",
            args=args,
        )
        command.run()


def commands() -> dict[str, Callable[..., Any]]:
    """Return the commands by name."""
    from domains.trajectory.commands.animate import Animate
    from domains.trajectory.commands.demo import Demo
    from domains.trajectory.commands.evaluate import Evaluate
    from domains.trajectory.commands.export import Export
    from domains.trajectory.commands.fit_latent import FitLatent
    from domains.trajectory.commands.guide import Guide
    from domains.trajectory.commands.plot import Plot
    from domains.trajectory.commands.predict import Predict
    from domains.trajectory.commands.risk import Risk
    from domains.trajectory.commands.tasks import Tasks
    from domains.trajectory.commands.train import Train

    return {
        "train": Train,
        "fit-latent": FitLatent,
        "predict": Predict,
        "guide": Guide,
        "evaluate": Evaluate,
        "tasks": Tasks,
        "risk": Risk,
        "plot": Plot,
        "animate": Animate,
        "export": Export,
        "demo": Demo,
    }
