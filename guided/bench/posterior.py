r"""``guided-bench posterior``: methods on problems whose posterior is known.

Every method gets the exact denoiser of the prior, the same number of particles and the same budget
of evaluations of the forward map, and one default for all problems. What is left is the method's
own error. Every figure is read beside its floor: the same figure for exact draws of the same
number.

========  ===============================================================  ================
SW1       sliced Wasserstein distance to exact draws, over its floor       1 ideal
C2ST      accuracy of a classifier of samples against exact draws          0.5 ideal
modes     total variation between the modes' shares and their exact ones   floor is printed
spread    root of the ratio of total variances                             1 ideal
off       mean log density under the prior, less that of exact draws       0 ideal
CRPS      score of the samples as a forecast of exact draws, over floor    1 ideal
SSR       spread over skill of that forecast                               floor in --json
log Z     absolute error of the estimated log evidence                     0 ideal
ESS       effective size of the draws of SIR: where it is small, SIR fails
========  ===============================================================  ================
"""

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from guided.bench.curve import error_against_budget
from guided.bench.methods import (
    GRADIENTS,
    LINEAR,
    METHODS,
    SCHEDULE,
    Clock,
    Found,
    Task,
    TimedOperator,
    repaired,
)
from guided.bench.problems import NAMES, RECIPES
from guided.bench.scores import HEAD, Result, case, line, mean
from guided.results import require_writable, versions, write_json
from guided.rng import Rng, stream_seed

FLAT = {"steps-16", "steps-1000"}  # maps whose gradient is 0 almost everywhere


@dataclass(frozen=True)
class Posterior:
    """Compare guidance methods with exact posteriors."""

    problems: tuple[str, ...] = ("linear-16", "grid25-8-2", *list(RECIPES)[1:])
    """Problems by name; grid25-8-1 to grid25-800-4 are the 25-mode mixtures of MCGDiff."""
    methods: tuple[str, ...] = tuple(METHODS)
    """Methods by name."""
    noise: tuple[float, ...] = (1.0, 0.1)
    """Factors of the problems' noise; 0.1 is hard for draws from the prior."""
    particles: int = 1024
    """Samples of every method."""
    sweeps: int = 158
    """Evaluations of the forward map per sample."""
    seeds: int = 3
    """Problems of a kind, each with its own prior, map and measurement."""
    seed: int = 0
    """The first of them."""
    threads: int = 1
    """Processor threads."""
    repair: int = 0
    """Follow every method by so many moves of Waltz, and print the figures before and after."""
    json: Path | None = None
    """Write all figures to this file."""
    curve: Path | None = None
    """Also run with a half, a quarter and so on of the sweeps, and plot the error to this .png."""
    quick: bool = False
    """One small problem, few particles: a smoke test, not a result."""

    def run(self) -> None:
        """Measure and print.

        Raises:
            ValueError: for an unknown method or problem, or numbers out of range.
        """
        self._check()
        require_writable(self.json, self.curve)
        torch.set_num_threads(self.threads)
        began = time.perf_counter()
        rows = list(self._rows())
        if self.curve is not None:
            error_against_budget(rows, self.curve)
        if self.json is not None:
            options = {k: v for k, v in asdict(self).items() if k not in ("json", "curve")}
            seconds = round(time.perf_counter() - began, 1)
            figures = {"options": options, "rows": rows, "versions": versions()}
            write_json(self.json, {**figures, "seconds": seconds})

    def _rows(self) -> Iterator[dict[str, Any]]:
        """Yield the figures of every case, and print them."""
        budgets = (
            [max(8, self.sweeps // d) for d in (16, 8, 4, 2, 1)] if self.curve else [self.sweeps]
        )
        cases = [
            (name, factor, sweeps, method)
            for name in (self.problems[:1] if self.quick else self.problems)
            for factor in (self.noise[:1] if self.quick else self.noise)
            for sweeps in ([40] if self.quick else budgets)
            for method in self.methods
            if fits(method, name)
        ]
        head = ""
        for name, factor, sweeps, method in tqdm(cases, unit="case", leave=False):
            about = {"problem": name, "noise": factor, "sweeps": sweeps}
            runs = list(self._results(name, factor, method, sweeps))
            for label, results in zip((method, " + Waltz"), zip(*runs, strict=True), strict=False):
                row = about | {"method": label if label == method else method + label}
                row |= {**mean(results), "seeds": [asdict(result) for result in results]}
                with tqdm.external_write_mode():
                    if head != (head := f"{name}, noise x {factor:g}, {sweeps} sweeps"):
                        print(f"\n{head}\n{HEAD}")
                    print(line({**row, "method": label}))
                yield row

    def _check(self) -> None:
        for given, known, what in (
            (self.problems, NAMES, "problem"),
            (self.methods, METHODS, "method"),
        ):
            for name in given:
                if name not in known:
                    raise ValueError(f"unknown {what} {name!r}; expected {', '.join(known)}")
        if self.particles < 16 or self.sweeps < 8 or min(self.seeds, self.threads) < 1:
            raise ValueError(
                f"give at least 16 particles, 8 sweeps, 1 seed and 1 thread, got {self.particles}, "
                f"{self.sweeps}, {self.seeds} and {self.threads}"
            )

    def _results(
        self, name: str, factor: float, method: str, sweeps: int
    ) -> Iterator[list[Result]]:
        particles = 64 if self.quick else self.particles
        for seed in range(self.seed, self.seed + (1 if self.quick else self.seeds)):
            yield measure(name, factor, method, particles, sweeps, seed, self.repair)


def fits(method: str, name: str) -> bool:
    """Tell whether a method is for a problem: gradients need a slope, moments a linear map."""
    if method in LINEAR:
        return name.startswith(("linear", "grid25"))
    return not (method in GRADIENTS and name in FLAT)


def measure(
    name: str, factor: float, method: str, particles: int, sweeps: int, seed: int, repair: int = 0
) -> list[Result]:
    """Run a method on a problem and score it; then once more after moves of Waltz, if any."""
    given, judge = case(name, seed, factor, particles)
    clock = Clock(given.prior.denoiser(SCHEDULE))
    operator = TimedOperator(given.operator)
    rng = Rng(stream_seed(seed, sum(method.encode())))
    task = Task(given, clock, operator, particles, sweeps, rng)
    began = time.perf_counter()

    def result(found: Found) -> Result:
        seconds = time.perf_counter() - began
        inside = clock.seconds + operator.seconds
        return Result(
            score=judge.score(found.x),
            floor=judge.floor,
            log_z=math.nan if found.log_z is None else found.log_z - given.log_z,
            effective=math.nan if found.effective is None else found.effective,
            overhead=seconds / inside if inside else math.nan,
            forward=operator.rows / particles,
            calls=clock.rows / particles,
            seconds=seconds,
        )

    found = METHODS[method](task)
    results = [result(found)]
    if repair:
        began = time.perf_counter()
        clock.seconds = operator.seconds = 0.0
        results.append(result(Found(repaired(task, found.x, repair))))
    return results
