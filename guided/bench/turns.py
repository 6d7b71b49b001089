"""Runs timed in turn, A B C A B C ..., in the time of the processor and on the clock."""

import gc
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

from tqdm import tqdm

Runs = Mapping[str, Callable[[], object]]


def turns(runs: Runs, rounds: int, each: int = 1) -> list[dict[str, Any]]:
    """Return a row for every run; the first one is what the others are compared with.

    Processor time counts all threads of this process and no other process, so it is what a run
    would take on an idle machine with one thread. Ratios are taken within a round, and their
    median over rounds; the times of a run are per ``each`` (such as steps) of them.

    Args:
        runs: what to time; each goes once before, unmeasured.
        rounds: repetitions.
        each: by what to divide times.
    """
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for _ in tqdm(range(rounds), unit="round", leave=False):
            for name, run in runs.items():
                cpu, wall = time.process_time(), time.perf_counter()
                run()
                seconds[name].append((time.process_time() - cpu, time.perf_counter() - wall))
    finally:
        if collecting:
            gc.enable()
    first = next(iter(seconds.values()))
    return [_row(name, own, first, each) for name, own in seconds.items()]


def _row(
    name: str, own: list[tuple[float, float]], first: list[tuple[float, float]], each: int
) -> dict[str, Any]:
    cpu, wall = ([a[kind] / b[kind] for a, b in zip(first, own, strict=True)] for kind in (0, 1))
    return {
        "run": name,
        "ms": median(c for c, _ in own) / each * 1e3,
        "least_ms": min(c for c, _ in own) / each * 1e3,
        "ratio": median(cpu),
        "ratio_wall": median(wall),
        "saved": 1 - median(1 / ratio for ratio in cpu),
    }


def table(case: dict[str, Any], judged: bool = True) -> str:
    """Return a case, its ``rows`` and its ``targets`` as text."""
    columns = f"{'ms':>9}{'(least)':>11}{'faster':>9}{'on the clock':>14}{'saved':>8}"
    lines = [f"\n{case['what']}", f"{'':36}{columns}"]
    for row in case["rows"]:
        least = f"({row['least_ms']:.2f})"
        drawn = f"{row['drawn']:>8} rows" if "drawn" in row else f"  {row.get('note', '')}"
        lines.append(
            f"{row['run']:36}{row['ms']:>9.2f}{least:>11}{row['ratio']:>8.2f}x"
            f"{row['ratio_wall']:>13.2f}x{row['saved']:>8.0%}{drawn}".rstrip()
        )
    by_name = {row["run"]: row for row in case["rows"]}
    for target in case["targets"] if judged else []:
        lines.append(_verdict(by_name, target))
    return "\n".join(lines)


def _verdict(rows: Mapping[str, Any], target: Mapping[str, Any]) -> str:
    """Return whether a target is kept: ``least`` times faster, ``most`` times as long or ms."""
    row = rows[target["run"]]
    if "most_ms" in target:
        kept = row["ms"] <= target["most_ms"]
        says = f"{row['ms']:.2f} ms, at most {target['most_ms']:g}"
    elif "most" in target:
        share = 1 / row["ratio"]
        kept = share <= target["most"]
        says = f"{share:.3f} times as long as the first, at most {target['most']:g}"
    else:
        kept = row["ratio"] >= target["least"]
        says = f"{row['ratio']:.2f} times faster, at least {target['least']}"
    return f"{'kept  ' if kept else 'MISSED'} {says}"
