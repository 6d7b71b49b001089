r"""``guided-bench speed``: overhead = time of the run / (network calls x time of one call).

1.0 would be a loop that costs nothing. The network is the plain module, ``net(x, time, cond)``,
from the moment a loop calls it to the moment it returns, timed inside the run itself. All else is
the loop's: random numbers, energies, the update, and what :class:`guided.NetDenoiser` does to turn
the network's output into a prediction, which is also shown by itself. The row "network alone" has
the same calls back to back: what a call takes longer inside a loop, because the caches are colder,
counts as the network's.

A lap (see :mod:`guided.bench.timing`) is the median, or the least, of its n rounds; a run is the
sum of its laps. The least is the figure of an undisturbed machine.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from guided.bench import loops, report
from guided.bench.timing import Stopwatch, interleave
from guided.nets import MLP, Transformer
from guided.results import require_writable, write_json
from guided.rng import Rng, initial_weights

PLAIN = "DDIM, eta 0"
DIFFUSERS = "DDIM of diffusers"


@dataclass(frozen=True)
class Case:
    """A network to measure on, and the figures that our loops have to keep.

    Args:
        name: what it is.
        net: makes it.
        shape: of what a call sees, (B, ...).
        steps: of a run.
        rounds: n, repetitions of every loop.
        most_beyond: microseconds a step that DDIM may take beyond the network.
        most_overhead: what the overhead of any of ours may be.
    """

    name: str
    net: Callable[[], nn.Module]
    shape: tuple[int, ...]
    steps: int
    rounds: int
    most_beyond: float | None = None
    most_overhead: float | None = None


CASES = (
    Case("MLP 64-256-256-64", lambda: MLP(64, 64, (256, 256)), (64, 64), 50, 60, most_beyond=80.0),
    Case(
        "transformer, 4 blocks of width 128",
        lambda: Transformer(64, width=128, depth=4, heads=4),
        (16, 16, 64),
        steps=10,
        rounds=9,
        most_overhead=1.05,
    ),
)


class Figures(NamedTuple):
    """What a loop costs.

    Args:
        call_us: microseconds of one network call, on average over the run.
        beyond_us: microseconds a step beyond the network.
        overhead: time of the run over the time of its calls.
    """

    call_us: float
    beyond_us: float
    overhead: float


class Row(NamedTuple):
    """One loop's name, its network calls in a run, and its figures from both kinds of laps."""

    loop: str
    calls: int
    median: Figures
    least: Figures


@dataclass(frozen=True)
class Speed:
    """Measure what samplers cost beyond the network, as ratios within one run."""

    threads: int = 1
    """Processor threads."""
    seed: int = 0
    """Of the networks and the noise."""
    json: Path | None = None
    """Write all figures to this file."""
    quick: bool = False
    """Two rounds of three steps: a smoke test, not a result."""

    def run(self) -> None:
        """Measure and print.

        Raises:
            ValueError: for fewer than 1 thread.
        """
        if self.threads < 1:
            raise ValueError(f"--threads must be at least 1, got {self.threads}")
        require_writable(self.json)
        torch.set_num_threads(self.threads)
        began = time.perf_counter()
        cases = []
        for case in tqdm(CASES, unit="network", leave=False):
            chosen = replace(case, steps=3, rounds=2) if self.quick else case
            cases.append(described(chosen, measure(chosen, self.seed), judged=not self.quick))
            with tqdm.external_write_mode():
                print(report.table(cases[-1]))
        if self.json is not None:
            options = {"threads": self.threads, "seed": self.seed, "quick": self.quick}
            seconds = time.perf_counter() - began
            write_json(self.json, report.document("speed", options, cases, seconds))


def measure(case: Case, seed: int) -> list[Row]:
    """Time the network alone, NetDenoiser and all loops of a case, in turn."""
    with initial_weights(seed):
        net = Stopwatch(case.net().eval().requires_grad_(False))
    x, steps = Rng(seed).normal(case.shape), case.steps
    runs = {"network alone": loops.alone(net, x, steps), "bare loop": loops.bare(net, x, steps)}
    runs |= loops.samplers(net, x, steps)
    theirs = loops.diffusers(net, x, steps)
    if theirs is not None:
        runs[DIFFUSERS] = theirs
    runs |= loops.denoisers(net, x, steps)
    return [row(name, laps, steps) for name, laps in interleave(net, runs, case.rounds).items()]


def row(loop: str, laps: NDArray[np.int64], steps: int) -> Row:
    """Turn the laps of a loop, nanoseconds of shape (rounds, 2 calls + 1), into its figures."""
    calls = laps.shape[1] // 2

    def figures(lap: NDArray[Any]) -> Figures:
        run, network = float(lap.sum()), float(lap[1::2].sum())
        return Figures(network / calls / 1e3, (run - network) / steps / 1e3, run / network)

    return Row(loop, calls, figures(np.median(laps, axis=0)), figures(laps.min(axis=0)))


def described(case: Case, rows: list[Row], judged: bool) -> dict[str, Any]:
    """Return a case and its figures, ready for JSON; its targets only where ``judged``."""
    return {
        "network": case.name,
        "shape": case.shape,
        "steps": case.steps,
        "rounds": case.rounds,
        "loops": [
            {**row._asdict(), "median": row.median._asdict(), "least": row.least._asdict()}
            for row in rows
        ],
        "absent": [DIFFUSERS] * (DIFFUSERS not in [row.loop for row in rows]),
        "targets": targets(case, rows) if judged else [],
    }


def targets(case: Case, rows: list[Row]) -> list[dict[str, Any]]:
    """Hold the medians against what the case asks for."""
    found: list[dict[str, Any]] = []
    if case.most_beyond is not None:
        plain = next(r.median.beyond_us for r in rows if r.loop == PLAIN)
        what = f"{PLAIN}: microseconds a step beyond the network"
        found.append({"what": what, "most": case.most_beyond, "found": plain})
    if case.most_overhead is not None:
        worst = max((r for r in rows if r.loop != DIFFUSERS), key=lambda r: r.median.overhead)
        what = f"largest overhead of ours ({worst.loop})"
        found.append({"what": what, "most": case.most_overhead, "found": worst.median.overhead})
    return found
