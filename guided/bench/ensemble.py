"""``guided-bench ensemble``: what particles cost, beside a loop over them and beside the network.

Two measurements on the problem linear-16, with the exact denoiser of its prior.

Loop: one run of EnKG with J particles as it is, and the same run in which the network (that of the
rollouts included) and the forward map see one particle a call. All else stays batched in both, in
favour of the loop. Runs take turns (A B A B ...); the ratio is the median over rounds. It is
measured with the denoiser itself, where a call is next to free, and at the cost of a network.

Overhead = time of the run / (time in the network + time in the forward map), of every method of
``guided-bench posterior`` that calls the network, over one run, or as many as make 16 calls. 1.0
would be a method that costs nothing.

The cost of a network: every call also evaluates an untrained ``guided.nets.MLP`` on x and throws
its result away. Calls then take as long as those of a network, and the answers stay exact. A
gradient passes back through the closed form alone, and counts as the method's own.
"""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from guided.bench.methods import METHODS, SCHEDULE, Clock, Task, TimedOperator
from guided.bench.problems import Problem, problem
from guided.denoiser import Denoiser, DenoiserWrapper, Prediction
from guided.guidance import EnKG
from guided.nets import MLP
from guided.operator import Operator
from guided.results import require_writable, versions, write_json
from guided.rng import Rng, initial_weights, stream_seed
from guided.samplers import DDIM
from guided.schedule import Level
from guided.wrappers import Chunked

PROBLEM = "linear-16"
LEAST = 3.0  # what the time of the loop over that of the batch should be
MOST = 1.1  # what the overhead of a method may be
CALLS = 16  # of the network, at least, that an overhead is measured over
STEPS, ROLLOUT = 3, 3  # of the runs of EnKG: few, so that a loop ends in seconds


class Priced(DenoiserWrapper):
    """A denoiser whose calls take as long as those of a network, with the same answers.

    Args:
        denoiser: gives the answers.
        net: evaluated on x by every call, for its cost alone.
    """

    def __init__(self, denoiser: Denoiser, net: nn.Module) -> None:
        super().__init__(denoiser)
        self.net = net

    def forward(self, x: Tensor, level: Level, cond: Any = None) -> Prediction:
        """Evaluate the network, then answer."""
        with torch.no_grad():
            self.net(x, torch.as_tensor(level.t, dtype=x.dtype).expand(len(x)))
        return self.denoiser(x, level, cond)


@dataclass(frozen=True)
class Ensemble:
    """Time a batched ensemble beside a loop over its particles, and methods beside the network."""

    methods: tuple[str, ...] = tuple(METHODS)
    """Methods whose overhead is measured, by name."""
    particles: int = 1024
    """Particles of every run."""
    hidden: tuple[int, ...] = (1024, 1024, 1024)
    """Widths of the network whose cost a call has."""
    rounds: int = 3
    """Repetitions of the batched run and the loop."""
    sweeps: int = 16
    """Evaluations of the forward map per sample, of the methods."""
    threads: int = 1
    """Processor threads."""
    seed: int = 0
    """Of the problem and all draws."""
    json: Path | None = None
    """Write all figures to this file."""
    quick: bool = False
    """Few particles, one round, a small network: a smoke test, not a result."""

    def run(self) -> None:
        """Measure and print.

        Raises:
            ValueError: for an unknown method, or numbers out of range.
        """
        self._check()
        require_writable(self.json)
        torch.set_num_threads(self.threads)
        began = time.perf_counter()
        particles, hidden, rounds = self.particles, self.hidden, self.rounds
        if self.quick:
            particles, hidden, rounds = min(particles, 64), (64,), 1
        given = problem(PROBLEM, self.seed)
        exact = given.prior.denoiser(SCHEDULE)
        with initial_weights(self.seed):
            (size,) = given.prior.shape
            net = MLP(size, size, hidden).eval().requires_grad_(False)
        denoisers = {"exact": exact, "network": Priced(exact, net)}
        loops = list(self._loops(given, denoisers, particles, rounds))
        overheads = list(self._overheads(given, denoisers["network"], particles))
        if self.json is not None:
            options = {k: v for k, v in asdict(self).items() if k != "json"}
            figures: dict[str, Any] = {"options": options, "loops": loops, "overheads": overheads}
            figures |= {"least": LEAST, "most": MOST, "versions": versions()}
            write_json(self.json, {**figures, "seconds": round(time.perf_counter() - began, 1)})

    def _loops(
        self, given: Problem, denoisers: dict[str, Denoiser], particles: int, rounds: int
    ) -> Iterator[dict[str, Any]]:
        print(f"EnKG, {particles} particles, {STEPS} steps, n = {rounds}, median (least)")
        print(f"{'a call costs as':18}{'s batched':>18}{'s in a loop':>18}{'loop / batched':>16}")
        ratios = []
        for name, denoiser in denoisers.items():
            found = looped(given, denoiser, particles, rounds, self.seed)
            cells = [f"{median(found[k]):.3f} ({min(found[k]):.3f})" for k in ("batched", "loop")]
            print(f"{name:18}{cells[0]:>18}{cells[1]:>18}{found['ratio']:>16.1f}", flush=True)
            ratios.append(found["ratio"])
            yield {"call": name, **found}
        if not self.quick:
            verdict = "kept  " if min(ratios) >= LEAST else "MISSED"
            print(f"{verdict} EnKG, loop / batched: {min(ratios):.3g}, at least {LEAST}")

    def _overheads(
        self, given: Problem, denoiser: Denoiser, particles: int
    ) -> Iterator[dict[str, Any]]:
        print(f"\n{particles} particles, at the cost of the network")
        print(f"{'':14}{'calls':>8}{'s':>9}{'network':>9}{'forward':>9}{'overhead':>10}")
        worst: dict[str, float] = {}
        for name in tqdm(self.methods, unit="method", leave=False):
            row = {
                "method": name,
                **spent(given, denoiser, name, particles, self.sweeps, self.seed),
            }
            cell = "-" if row["overhead"] is None else f"{row['overhead']:.3f}"
            with tqdm.external_write_mode():
                print(
                    f"{name:14}{row['calls']:>8.1f}{row['seconds']:>9.3f}{row['network']:>9.3f}"
                    f"{row['forward']:>9.3f}{cell:>10}"
                )
            if row["overhead"] is not None:
                worst[name] = row["overhead"]
            yield row
        if worst and not self.quick:
            name = max(worst, key=worst.__getitem__)
            verdict = "kept  " if worst[name] <= MOST else "MISSED"
            print(f"{verdict} largest overhead ({name}): {worst[name]:.3f}, at most {MOST}")

    def _check(self) -> None:
        for name in self.methods:
            if name not in METHODS:
                raise ValueError(f"unknown method {name!r}; expected {', '.join(METHODS)}")
        if self.particles < 16 or self.sweeps < 8 or min(self.rounds, self.threads) < 1:
            raise ValueError(
                f"give at least 16 particles, 8 sweeps, 1 round and 1 thread, got "
                f"{self.particles}, {self.sweeps}, {self.rounds} and {self.threads}"
            )


def row_by_row(operator: Operator) -> Operator:
    """Return an operator whose forward map sees one row a call."""
    return Operator(
        lambda x0: torch.cat([operator.forward(row) for row in x0.split(1)]),
        operator.y,
        operator.noise,
    )


def guided_run(given: Problem, denoiser: Denoiser, operator: Operator, J: int, seed: int) -> Tensor:
    """Return the particles (J, D) of a short run of EnKG."""
    rng = Rng(seed)
    task = Task(given, Clock(denoiser), TimedOperator(operator), J, 0, rng)
    times = task.times(STEPS)
    method = EnKG(DDIM(task.denoiser), task.operator, rollout=ROLLOUT)
    return method.sample(task.start(times, J), times, rng=rng)


def looped(
    given: Problem, denoiser: Denoiser, particles: int, rounds: int, seed: int
) -> dict[str, Any]:
    """Return the seconds of batched runs and of loops, and the ratio; both end alike."""
    batched = partial(guided_run, given, denoiser, given.operator, particles, seed)
    loop = partial(
        guided_run, given, Chunked(denoiser, 1), row_by_row(given.operator), particles, seed
    )
    seconds: dict[str, list[float]] = {"batched": [], "loop": []}
    batched()  # unmeasured
    gap = 0.0
    for _ in tqdm(range(rounds), unit="round", leave=False):
        found = []
        for name, run in (("batched", batched), ("loop", loop)):
            began = time.perf_counter()
            found.append(run())
            seconds[name].append(time.perf_counter() - began)
        gap = float((found[0] - found[1]).abs().max())
    ratios = [a / b for a, b in zip(seconds["loop"], seconds["batched"], strict=True)]
    return dict[str, Any](seconds) | {"ratio": median(ratios), "gap": gap}


def spent(
    given: Problem, denoiser: Denoiser, method: str, particles: int, sweeps: int, seed: int
) -> dict[str, Any]:
    """Return the seconds of runs of a method, in all and in their calls."""
    clock, operator = Clock(denoiser), TimedOperator(given.operator)
    rng = Rng(stream_seed(seed, sum(method.encode())))
    task = Task(given, clock, operator, particles, sweeps, rng)
    runs, began = 0, time.perf_counter()
    while runs == 0 or 0 < clock.calls < CALLS:
        METHODS[method](task)
        runs += 1
    seconds = time.perf_counter() - began
    inside = clock.seconds + operator.seconds
    return {
        "runs": runs,
        "calls": clock.rows / particles,
        "seconds": seconds,
        "network": clock.seconds,
        "forward": operator.seconds,
        "overhead": seconds / inside if clock.calls else None,
    }
