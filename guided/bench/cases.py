"""Cases printed as they come, and kept in a file."""

import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from guided.bench.turns import table
from guided.results import require_writable, versions, write_json


def require_counts(rounds: int, threads: int, parts: tuple[str, ...], json: Path | None) -> None:
    """Set the number of threads.

    Raises:
        ValueError: for no part, fewer than 1 round or thread, or a file that cannot be written.
    """
    if min(rounds, threads, len(parts)) < 1:
        raise ValueError(
            f"give at least 1 round, 1 thread and 1 part, got {rounds}, {threads} and {len(parts)}"
        )
    require_writable(json)
    torch.set_num_threads(threads)


def report(name: str, command: Any, cases: Iterable[dict[str, Any]]) -> None:
    """Print cases, and write them where the command's ``json`` says.

    Args:
        name: of the command.
        command: a dataclass with ``quick`` (which is not judged) and ``json``.
        cases: each as :func:`guided.bench.turns.table` takes it.
    """
    began, kept = time.perf_counter(), []
    for case in tqdm(cases, unit="case", leave=False):
        kept.append(case)
        with tqdm.external_write_mode():
            print(table(case, judged=not command.quick), flush=True)
    if command.json is not None:
        options = {k: v for k, v in asdict(command).items() if k != "json"}
        document = {"command": f"guided-bench {name}", "options": options, "cases": kept}
        seconds = round(time.perf_counter() - began, 1)
        write_json(command.json, {**document, "versions": versions(), "seconds": seconds})
