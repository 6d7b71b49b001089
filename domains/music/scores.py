"""The figures of an evaluation: errors, overlaps, cost, and whether each target is reached.

Conventions:
    none: the model alone; best: the best of n complete samples; scg: SCG with n candidates.
    An error is a rule's loss against the target of a real clip, lower is better, 0 = obeyed.
    An overlap compares generated with real clips (`metrics`), higher is better.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any, NamedTuple

import numpy as np

from domains.music.metrics import Overlap
from domains.music.report import table

FACTORS = {"pitch_histogram": 5.0, "note_density": 10.0, "chord_progression": 2.4}
"""By rule, how many times lower than unguided the error of SCG has to be."""
OVERLAP_LOSS = 0.03  # the overlap of SCG may be lower than unguided by this much
OVERHEAD = 0.10  # rules and bookkeeping may take this share of the network's time


class Check(NamedTuple):
    """A target, and whether it is reached."""

    target: str
    found: str
    reached: bool

    def __str__(self) -> str:
        """Return one line."""
        return f"{'yes   ' if self.reached else 'MISSED'}  {self.target}: {self.found}"


@dataclass(frozen=True)
class Score:
    """One method on one rule.

    Args:
        mean: mean error over clips.
        se: standard error of that mean.
        overlap: overlap with real clips.
        errors: the error of every clip.
    """

    mean: float
    se: float
    overlap: Overlap
    errors: list[float]


def mean_and_se(errors: Sequence[float]) -> tuple[float, float]:
    """Return the mean of two or more errors and its standard error."""
    values = np.asarray(errors, np.float64)
    return float(values.mean()), float(values.std(ddof=1) / sqrt(len(values)))


@dataclass(frozen=True)
class RuleScores:
    """All methods on one rule."""

    none: Score
    best: Score
    scg: Score

    @property
    def none_over_scg(self) -> float | None:
        """How many times lower than unguided the error of SCG is; None where it is 0."""
        return self.none.mean / self.scg.mean if self.scg.mean else None

    @property
    def best_over_scg(self) -> float | None:
        """How many times lower than best-of-n the error of SCG is; None where it is 0."""
        return self.best.mean / self.scg.mean if self.scg.mean else None

    def checks(self, name: str) -> list[Check]:
        """Return the targets of a rule."""
        checks = []
        if factor := FACTORS.get(name):
            target = f"{name}, error of SCG {factor:g} times below unguided"
            reached = factor * self.scg.mean <= self.none.mean
            checks.append(Check(target, _times(self.none_over_scg), reached))
        target = f"{name}, error of SCG below best-of-n"
        checks.append(Check(target, _times(self.best_over_scg), self.scg.mean < self.best.mean))
        change = self.scg.overlap.mean - self.none.overlap.mean
        target = f"{name}, overlap of SCG at most {OVERLAP_LOSS:g} below unguided"
        return [*checks, Check(target, f"{change:+.3f}", change >= -OVERLAP_LOSS)]


@dataclass(frozen=True)
class Cost:
    """What runs of one kind took.

    Args:
        clips: clips made.
        seconds: wall time.
        network_seconds: of these, in the network.
        rule_seconds: of these, in the rules.
        calls: network calls.
        rows: rows of network calls, the measure of effort.
    """

    clips: int
    seconds: float
    network_seconds: float
    rule_seconds: float
    calls: int
    rows: int

    @property
    def overhead(self) -> float:
        """Time of everything but the network, as a share of the network's."""
        return self.seconds / self.network_seconds - 1


@dataclass(frozen=True)
class Report:
    """What `evaluate` found.

    Args:
        rules: scores by rule.
        real: overlap of the clips that the targets come from, what a perfect model would reach.
        none: cost of the unguided pool, from which "none" and "best" of all rules come.
        scg: cost of all guided runs.
        seconds: wall time of the whole evaluation.
        setup: counts, seeds and settings.
        model: hash of weights, schedule and codec.
        versions: of what the figures depend on.
    """

    rules: dict[str, RuleScores]
    real: Overlap
    none: Cost
    scg: Cost
    seconds: float
    setup: dict[str, Any]
    model: str
    versions: dict[str, str]

    def checks(self) -> list[Check]:
        """Return all targets."""
        target = f"rules and bookkeeping below {OVERHEAD:.0%} of the network's time"
        overhead = self.scg.overhead
        speed = Check(target, f"{overhead:.1%}", overhead < OVERHEAD)
        return [c for name, scores in self.rules.items() for c in scores.checks(name)] + [speed]

    def to_dict(self) -> dict[str, Any]:
        """Return everything, ready for JSON."""
        figures = asdict(self)
        for name, scores in self.rules.items():
            figures["rules"][name]["none_over_scg"] = scores.none_over_scg
            figures["rules"][name]["best_over_scg"] = scores.best_over_scg
        for cost in ("none", "scg"):
            figures[cost]["overhead"] = getattr(self, cost).overhead
        figures["checks"] = [check._asdict() for check in self.checks()]
        return figures

    def text(self) -> str:
        """Return tables and targets for a terminal."""
        n, count = self.setup["candidates"], self.setup["count"]
        head = ["rule", "no guidance", f"best of {n}", f"SCG {n}", "none/SCG", "best/SCG"]
        errors = [
            [name, *(f"{s.mean:.3g} ± {s.se:.1g}" for s in (r.none, r.best, r.scg)),
             _times(r.none_over_scg), _times(r.best_over_scg)]
            for name, r in self.rules.items()
        ]  # fmt: skip
        overlaps = [
            [name, *(_pm(s.overlap) for s in (r.none, r.best, r.scg))]
            for name, r in self.rules.items()
        ]
        real = ["real clips", _pm(self.real), "", ""]
        cost = self.scg
        parts = [
            f"Error, mean ± standard error over {count} targets from real clips",
            table([head, *errors]),
            "Overlap with real clips, mean ± sd over draws of real clips",
            table([head[:4], *overlaps, real]),
            "Targets",
            "\n".join(map(str, self.checks())),
            f"{self.seconds:.0f} s in all; a guided clip {cost.seconds / cost.clips:.1f} s, "
            f"{cost.rows / cost.clips:.0f} network rows; rules alone take "
            f"{cost.rule_seconds / cost.network_seconds:.1%} of the network's time",
        ]
        return "\n\n".join(parts)


def _pm(found: Overlap) -> str:
    return f"{found.mean:.3f} ± {found.sd:.3f}"


def _times(ratio: float | None) -> str:
    return "error 0" if ratio is None else f"{ratio:.2f}x"
