"""``guided-bench``: measurements of the core."""

import sys
from collections.abc import Callable

import tyro

from guided.bench.cep import Contrast
from guided.bench.ensemble import Ensemble
from guided.bench.pool import Busy
from guided.bench.posterior import Posterior
from guided.bench.speed import Speed

COMMANDS: dict[str, Callable[..., Speed | Posterior | Busy | Ensemble | Contrast]] = {
    "speed": Speed,
    "posterior": Posterior,
    "pool": Busy,
    "ensemble": Ensemble,
    "cep": Contrast,
}


def main(args: list[str] | None = None) -> None:
    """Run one command; a user's mistake is one sentence and exit status 1."""
    command = tyro.extras.subcommand_cli_from_dict(
        COMMANDS, prog="guided-bench", description="Measurements of the core.", args=args
    )
    try:
        command.run()
    except (ValueError, OSError) as error:
        sys.exit(f"guided-bench: {error}")
