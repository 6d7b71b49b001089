"""``python -m baselines.image.bench_flow``: our flow solver beside that of published work.

Developed fields, the same for all, are moved for a time. The error is the mean over fields of the
relative distance to our solver in double precision with a sixteenth of its step. Solvers take turns
(A B C A B C ...); seconds are the median over rounds, and the ratio to ours is the median over
rounds of ratios within one round. Ours is the longest step, from the default on, that is at least
as accurate as the published solver.
"""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
import tyro
from torch import Tensor
from tqdm import tqdm

from baselines.image.adaptive_flow import Moved, solve
from domains.image.flow.fields import FieldConfig, simulated
from domains.image.flow.solver import KolmogorovFlow
from guided.command import in_words
from guided.results import require_writable, versions, write_json

PUBLISHED, REPAIRED = "adaptive", "adaptive, true width"
LEAST = 4.0  # what the ratio of times should be
HALVINGS = 4  # of our step, in search of the published accuracy


@dataclass(frozen=True)
class BenchFlow:
    """Time our flow solver beside the adaptive one of published work, at no worse accuracy."""

    size: int = 64
    """Points along an axis."""
    batches: tuple[int, ...] = (1, 8)
    """Fields that are moved together."""
    time: float = 1.0
    """How long they are moved."""
    rounds: int = 5
    """Repetitions of everything."""
    threads: int = 1
    """Processor threads."""
    seed: int = 0
    """Of the fields."""
    json: Path | None = None
    """Write all figures to this file."""
    quick: bool = False
    """One round on a small grid: a smoke test, not a result."""

    def run(self) -> None:
        """Measure and print.

        Raises:
            ValueError: for numbers out of range.
        """
        if min(self.batches, default=0) < 1 or min(self.rounds, self.threads) < 1 or self.time <= 0:
            raise ValueError(
                f"give batches, rounds and threads of at least 1 and a time above 0, got "
                f"{self.batches}, {self.rounds}, {self.threads} and {self.time}"
            )
        require_writable(self.json)
        torch.set_num_threads(self.threads)
        began = time.perf_counter()
        cases: list[dict[str, Any]] = []
        size, rounds, burn_in = (32, 1, 2.0) if self.quick else (self.size, self.rounds, 20.0)
        for count in self.batches:
            config = FieldConfig(
                size=size, trajectories=count, snapshots=1, burn_in=burn_in, seed=self.seed
            )
            rows = measure(simulated(config, "test"), self.time, rounds)
            cases.append({"fields": count, "size": size, "rows": rows})
            print(table(cases[-1], rounds))
        worst = min(published(case["rows"])["ratio"] for case in cases)
        if not self.quick:
            kept = "kept  " if worst >= LEAST else "MISSED"
            print(f"\n{kept} time of the published solver over ours: {worst:.3g}, at least {LEAST}")
        if self.json is not None:
            options = {k: v for k, v in asdict(self).items() if k != "json"}
            figures = {"options": options, "cases": cases, "ratio": worst, "least": LEAST}
            seconds = round(time.perf_counter() - began, 1)
            write_json(self.json, {**figures, "versions": versions(), "seconds": seconds})


def measure(w: Tensor, duration: float, rounds: int) -> list[dict[str, Any]]:
    """Return a row a solver: its error, steps, seconds per field in every round, and ratio."""
    default = KolmogorovFlow(w.shape[-1]).dt
    exact = KolmogorovFlow(w.shape[-1], dt=default / 16)(w.double(), duration)

    def ours(dt: float) -> Callable[[], Moved]:
        flow = KolmogorovFlow(w.shape[-1], dt=dt)
        return lambda: Moved(flow(w, duration), math.ceil(duration / dt - 1e-9))

    runs: dict[str, Callable[[], Moved]] = {
        PUBLISHED: lambda: solve(w, duration),
        REPAIRED: lambda: solve(w, duration, length=2 * math.pi),
    }
    found = {name: run() for name, run in runs.items()}
    for halvings in range(HALVINGS + 1):
        name = f"ours, dt = 1/{2**halvings / default:g}"
        found[name] = (run := ours(default / 2**halvings))()
        if error(found[name].w, exact) <= error(found[PUBLISHED].w, exact):
            break
    runs = {name: run, **runs}
    seconds = interleaved(runs, len(w), rounds)
    return [
        {
            "solver": solver,
            "steps": found[solver].steps,
            "error": error(found[solver].w, exact),
            "seconds": taken,
            "ratio": median(t / u for t, u in zip(taken, seconds[name], strict=True)),
        }
        for solver, taken in seconds.items()
    ]


def error(w: Tensor, exact: Tensor) -> float:
    """Return the mean relative distance of fields (B, n, n)."""
    gap = (w - exact).flatten(1).norm(dim=1)
    return float((gap / exact.flatten(1).norm(dim=1)).mean())


def interleaved(
    runs: dict[str, Callable[[], Moved]], count: int, rounds: int
) -> dict[str, list[float]]:
    """Return the seconds per field of every run in every round, taken in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in tqdm(range(rounds), unit="round", leave=False):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            seconds[name].append((time.perf_counter() - began) / count)
    return seconds


def published(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the row of the published solver."""
    return next(row for row in rows if row["solver"] == PUBLISHED)


def table(case: dict[str, Any], rounds: int) -> str:
    """Return the figures of one batch as text."""
    lines = [
        f"\n{case['fields']} fields, {case['size']} points an axis, n = {rounds}, median (least)",
        f"{'':22}{'steps':>6}{'s per field':>20}{'error':>10}{'time / ours':>13}",
    ]
    for row in case["rows"]:
        cell = f"{median(row['seconds']):.4f} ({min(row['seconds']):.4f})"
        lines.append(
            f"{row['solver']:22}{row['steps']:>6}{cell:>20}{row['error']:>10.1e}{row['ratio']:>13.2f}"
        )
    return "\n".join(lines)


def main(args: list[str] | None = None) -> None:
    """Run the command; a user's mistake is one sentence and exit status 1."""
    with in_words("bench_flow"):
        tyro.cli(BenchFlow, prog="python -m baselines.image.bench_flow", args=args).run()


if __name__ == "__main__":
    main()
