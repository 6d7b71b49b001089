"""``guided-bench trajectory``: what hoisting saves, and what guidance adds to a step."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

from domains.trajectory.asking import Ask, asking
from domains.trajectory.bench.problem import GOALS, Problem
from domains.trajectory.bench.rivals import (
    Recomputing,
    difference,
    everything,
    relations_alone,
    relations_of_samples,
)
from domains.trajectory.costs.language import parse
from domains.trajectory.guiding import Method
from domains.trajectory.model import ModelConfig
from guided.bench.cases import report, require_counts
from guided.bench.turns import turns

OURS = "context computed once a run"
RIVALS = {
    "the whole scene in every step": (everything, 3.0),
    "relations of each sample, each step": (relations_of_samples, 3.0),
    "relations in every step, for all": (relations_alone, None),
}
APART = asking(parse("all: apart 3"))
UNGUIDED, ECM, SCORE = "unguided", "ecm, goals", "score-function, goals"
MAKING = "making energy and sampler of ecm"
METHODS: dict[str, tuple[Method, Ask]] = {
    UNGUIDED: ("none", GOALS),
    ECM: ("ecm", GOALS),
    "ecmr, goals": ("ecmr", GOALS),
    "next-noise-mean, goals": ("next-noise-mean", GOALS),
    "ecm, distances by autograd": ("ecm", APART),
}

Part = Literal["hoisting", "methods", "score"]


@dataclass(frozen=True)
class Trajectory:
    """Time guided runs of a crossing with 8 agents and 48 pieces of map.

    Milliseconds are of a step of a run, all samples together. Energies and samplers are made before
    it, which is timed by itself, spread over the steps. The network is that of
    ``guided-trajectory train``, its weights random.
    """

    parts: tuple[Part, ...] = get_args(Part)
    """What to measure."""
    samples: int = 32
    """Joint samples of the scene."""
    steps: int = 10
    """Network calls of a run."""
    rounds: int = 40
    """Repetitions of everything."""
    threads: int = 1
    """Processor threads."""
    seed: int = 0
    """Of the scene, the weights and the noise."""
    json: Path | None = None
    """Write all figures to this file."""
    quick: bool = False
    """Two rounds of three steps: a smoke test, not a result."""

    def run(self) -> None:
        """Measure and print.

        Raises:
            ValueError: for no part, or fewer than 1 round, thread, sample or step.
        """
        require_counts(self.rounds, self.threads, self.parts, self.json)
        if self.samples < 1 or self.steps < 1:
            raise ValueError(
                f"give at least 1 sample and 1 step, got {self.samples} and {self.steps}"
            )
        report("trajectory", self, self._cases())

    def _cases(self) -> Iterator[dict[str, Any]]:
        rounds, steps = (2, 3) if self.quick else (self.rounds, self.steps)
        problem = Problem.of(ModelConfig(), self.samples, steps, self.seed)
        if "hoisting" in self.parts:
            for name in RIVALS:
                yield hoisting(problem, name, rounds)
        if "methods" in self.parts:
            yield methods(problem, rounds)
        if "score" in self.parts:
            yield score(problem, rounds)


def hoisting(problem: Problem, name: str, rounds: int) -> dict[str, Any]:
    """Compare a guided run with one that computes again what depends on the scene alone."""
    fresh, least = RIVALS[name]
    rival = problem.through(Recomputing(problem.prepared, fresh))
    theirs, ours = rival.sampler("ecm"), problem.sampler("ecm")
    runs = {name: partial(rival.run, theirs), OURS: partial(problem.run, ours)}
    rows = turns(runs, rounds, len(problem.times) - 1)
    rows[0]["note"] = difference(problem.run(ours), rival.run(theirs))
    targets = [] if least is None else [{"run": OURS, "least": least}]
    return {"what": _what(problem, "ecm to goals"), "rows": rows, "targets": targets}


def methods(problem: Problem, rounds: int) -> dict[str, Any]:
    """Compare guided steps with an unguided one."""
    rows = _timed(problem, METHODS, rounds)
    targets = [{"run": ECM, "most": 1.05}]
    return {"what": _what(problem, "what guidance adds"), "rows": rows, "targets": targets}


def score(problem: Problem, rounds: int) -> dict[str, Any]:
    """Compare guidance through the network with that of the clean estimate."""
    rivals: dict[str, tuple[Method, Ask]] = {SCORE: ("score-function", GOALS), ECM: METHODS[ECM]}
    rows = _timed(problem, rivals, rounds)
    targets = [{"run": ECM, "least": 1.5}]
    return {"what": _what(problem, "through the network or not"), "rows": rows, "targets": targets}


def _timed(
    problem: Problem, chosen: dict[str, tuple[Method, Ask]], rounds: int
) -> list[dict[str, Any]]:
    runs: dict[str, Callable[[], object]] = {
        name: partial(problem.run, problem.sampler(*how)) for name, how in chosen.items()
    }
    runs[MAKING] = partial(problem.sampler, *METHODS[ECM])
    rows = turns(runs, rounds, len(problem.times) - 1)
    for row in rows:
        row["note"] = problem.spent(*chosen[row["run"]]) if row["run"] in chosen else ""
    return rows


def _what(problem: Problem, what: str) -> str:
    samples, agents, _ = problem.noise.shape
    return f"{what}: {agents} agents, {samples} samples, {len(problem.times) - 1} steps"
