r"""``guided-bench speed``: overhead = time of the run / (network calls x time of one call).

The network is the plain module that the loop calls, ``net(x, time, cond)``, timed on its own in
the same rounds, at the batch that the loop gives it. 1.0 would be a loop that costs nothing.
"""

import json
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

import guided
from guided.bench.loops import Loop, bare, diffusers, ours
from guided.bench.timing import interleaved
from guided.nets import MLP, Transformer
from guided.rng import Rng


@dataclass(frozen=True)
class Case:
    """A network, and the figures that its loops have to keep.

    Args:
        name: what it is.
        net: makes it.
        shape: of a batch.
        most_microseconds: a DDIM step may take this long beyond the network.
        most_overhead: the overhead of any loop may be this large.
        part: a slow network gets steps / part and repeats / part.
    """

    name: str
    net: Callable[[], nn.Module]
    shape: tuple[int, ...]
    most_microseconds: float | None = None
    most_overhead: float | None = None
    part: int = 1


CASES = (
    Case("MLP 64-256-256-64", lambda: MLP(64, 64, (256, 256)), (64, 64), most_microseconds=80.0),
    Case(
        "transformer of 5 ms or more",
        lambda: Transformer(64, width=192, depth=4, heads=6),
        (4, 64, 64),
        most_overhead=1.05,
        part=3,
    ),
)


@dataclass(frozen=True)
class Speed:
    """Measure what every sampler costs beyond the network, as ratios in one run."""

    steps: int = 50
    """Steps of a run."""
    repeats: int = 15
    """Rounds; the median counts."""
    threads: int = 1
    """Processor threads."""
    seed: int = 0
    """Seed of the networks."""
    json: Path | None = None
    """Write all figures to this file."""
    quick: bool = False
    """Three rounds of six steps: a smoke test, not a result."""

    def run(self) -> None:
        """Measure and print."""
        if min(self.steps, self.repeats, self.threads) < 1:
            raise ValueError("--steps, --repeats and --threads need numbers of at least 1")
        torch.set_num_threads(self.threads)
        torch.manual_seed(self.seed)
        began = time.perf_counter()
        steps, repeats = (6, 3) if self.quick else (self.steps, self.repeats)
        tables = {}
        for case in tqdm(CASES, unit="network"):
            few, rounds = max(2, steps // case.part), max(1, repeats // case.part)
            tables[case.name] = measure(case, few, rounds)
            title = f"{case.name}, batch {case.shape[0]}, {few} steps, median of {rounds} rounds"
            tqdm.write(f"\n{title}, {self.threads} thread(s)\n{_text(case, tables[case.name])}")
        if self.json is not None:
            figures = {
                "cases": {name: [asdict(row) for row in rows] for name, rows in tables.items()},
                "units": {"network_ms": "ms a call", "beyond_us": "microseconds a step"},
                "options": {k: str(v) for k, v in asdict(self).items()},
                "versions": {"guided": guided.__version__, "torch": torch.__version__},
                "machine": platform.machine(),
                "seconds": round(time.perf_counter() - began, 1),
            }
            part = self.json.with_name(f".{self.json.name}.part")
            part.write_text(json.dumps(figures, indent=2) + "\n")
            part.replace(self.json)


@dataclass(frozen=True)
class Row:
    """One loop's figures.

    Args:
        loop: its name.
        calls: network calls.
        network_ms: milliseconds of one call at the loop's batch.
        overhead: time of the run over the time of its calls.
        beyond_us: microseconds a step beyond the network.
    """

    loop: str
    calls: int
    network_ms: float
    overhead: float
    beyond_us: float


def measure(case: Case, steps: int, repeats: int) -> list[Row]:
    """Time all loops of a case, and the network at each of their batches, in turn."""
    net = case.net().eval().requires_grad_(False)
    loops: dict[str, Loop] = {"bare loop": bare(net, case.shape, steps)}
    loops |= ours(net, case.shape, steps)
    theirs = diffusers(net, case.shape, steps)
    if theirs is not None:
        loops["diffusers DDIM"] = theirs
    runs = {name: loop.run for name, loop in loops.items()}
    for rows in {loop.rows for loop in loops.values()}:
        runs[f"network {rows}"] = _calls(net, (rows, *case.shape[1:]), steps)
    seconds = interleaved(runs, repeats)
    return [row(name, loop, steps, seconds) for name, loop in loops.items()]


def row(name: str, loop: Loop, steps: int, seconds: dict[str, float]) -> Row:
    """Turn the seconds of a loop, and of ``steps`` network calls of its batch, into figures."""
    network = loop.calls * seconds[f"network {loop.rows}"] / steps
    beyond = (seconds[name] - network) / steps
    return Row(name, loop.calls, 1e3 * network / loop.calls, seconds[name] / network, 1e6 * beyond)


def _calls(net: nn.Module, shape: tuple[int, ...], steps: int) -> Callable[[], object]:
    x, t = Rng(1).normal(shape), torch.full((shape[0],), 0.5)

    @torch.no_grad()
    def run() -> None:
        for _ in range(steps):
            net(x, t, None)

    return run


def _text(case: Case, rows: list[Row]) -> str:
    lines = [f"{'loop':16}{'calls':>6}{'network ms':>12}{'overhead':>10}{'us a step beyond':>18}"]
    for r in rows:
        lines.append(
            f"{r.loop:16}{r.calls:>6}{r.network_ms:>12.3f}{r.overhead:>10.3f}{r.beyond_us:>18.1f}"
        )
    if rows[-1].loop != "diffusers DDIM":
        lines.append("diffusers is not installed: pip install 'guided[diffusers]' to compare")
    return "\n".join([*lines, *_targets(case, rows)])


def _targets(case: Case, rows: list[Row]) -> list[str]:
    lines = []
    if case.most_microseconds is not None:
        found: Any = next(r.beyond_us for r in rows if r.loop == "DDIM")
        target = f"DDIM beyond the network, at most {case.most_microseconds:.0f} us"
        lines.append(_verdict(target, found, case.most_microseconds))
    if case.most_overhead is not None:
        found = max(r.overhead for r in rows if r.loop not in ("bare loop", "diffusers DDIM"))
        lines.append(
            _verdict(
                f"largest overhead of ours, at most {case.most_overhead}", found, case.most_overhead
            )
        )
    return lines


def _verdict(target: str, found: float, most: float) -> str:
    return f"{'yes   ' if found <= most else 'MISSED'}  {target}: {found:.3g}"
