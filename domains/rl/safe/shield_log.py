"""What a shield did, kept in little room however long it runs."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

KEPT = 10_000  # chosen scores that quantiles are taken of
QUANTILES = (0.05, 0.5, 0.95)


@dataclass(frozen=True)
class ShieldSummary:
    """What a shield did.

    Args:
        decisions: actions asked for.
        fallbacks: of these, those where no candidate was admissible.
        stops: those that the stop hook ended.
        unjudged: those whose chosen candidate has the score NaN, as all of its rivals.
        threshold: of the shield.
        scores: quantiles of the chosen candidates' scores, by their level; None before any.
            Beyond 10,000 decisions they are those of a random sample of that size.
        worst: largest score of a chosen candidate, -inf before any.
        warning: what is wrong with the threshold, in a sentence; None if nothing is.
    """

    decisions: int
    fallbacks: int
    stops: int
    unjudged: int
    threshold: float
    scores: dict[float, float] | None
    worst: float
    warning: str | None

    def to_json(self) -> dict[str, Any]:
        """Return it as what ``json`` writes; numbers that are not finite become None."""
        facts = asdict(self)
        if self.scores is not None:
            facts["scores"] = {f"{level:g}": _finite(own) for level, own in self.scores.items()}
        return {**facts, "worst": _finite(self.worst)}

    def __str__(self) -> str:
        share = f" ({self.fallbacks / self.decisions:.1%})" if self.decisions else ""
        parts = [
            f"{self.decisions} decisions at threshold {self.threshold:g}",
            f"{self.fallbacks} fallbacks{share}",
            f"{self.stops} stops",
        ]
        if self.unjudged:
            parts.append(f"{self.unjudged} without any score")
        if self.scores is not None:
            told = ", ".join(f"{own:.3g}" for own in self.scores.values())
            levels = ", ".join(f"{level:g}" for level in self.scores)
            parts.append(f"chosen scores {told} at quantiles {levels}, worst {self.worst:.3g}")
        return "; ".join(parts) + (f"; {self.warning}" if self.warning else "")


class ShieldLog:
    """Counts of a shield's decisions, and a sample of the scores that it chose.

    Args:
        threshold: of the shield.
        patience: decisions with nothing but fallbacks after which there is a warning.
        seed: of the sample.
    """

    def __init__(self, threshold: float, patience: int, seed: int = 0) -> None:
        self.threshold, self.patience = threshold, patience
        self.decisions = self.fallbacks = self.stops = self.unjudged = 0
        self.lowest, self.worst = np.inf, -np.inf
        self._scores = np.empty(KEPT)
        self._seen = 0
        self._generator = np.random.default_rng(seed)

    def note(self, scores: np.ndarray, chosen: np.ndarray, fallback: np.ndarray) -> None:
        """Note decisions.

        Args:
            scores: of all candidates, (N, n).
            chosen: which of them, (N,).
            fallback: whether none was admissible, (N,).
        """
        own = scores[np.arange(len(scores)), chosen]
        judged = own[~np.isnan(own)]
        self.decisions += len(own)
        self.fallbacks += int(fallback.sum())
        self.unjudged += len(own) - len(judged)
        self.lowest = float(np.fmin(self.lowest, np.fmin.reduce(scores, axis=None, initial=np.inf)))
        self.worst = float(max(self.worst, judged.max(initial=-np.inf)))
        self._sample(judged)

    def _sample(self, scores: np.ndarray) -> None:
        """Keep each score that was seen with the same probability (Vitter's algorithm R)."""
        number = self._seen + np.arange(len(scores))
        place = np.where(number < KEPT, number, self._generator.integers(0, number + 1))
        kept = place < KEPT
        self._scores[place[kept]] = scores[kept]
        self._seen += len(scores)

    @property
    def warning(self) -> str | None:
        """A sentence, once every one of the first decisions, as many as the patience, fell back."""
        if self.decisions < self.patience or self.fallbacks < self.decisions:
            return None
        return (
            f"the shield admitted no candidate in any of its {self.decisions} decisions (threshold"
            f" {self.threshold:g}, lowest score {self.lowest:.3g}), so that it only ever takes the"
            f" least dangerous and never weighs values; raise the threshold, draw more candidates,"
            f" or check that a score is low where it is safe"
        )

    def summary(self) -> ShieldSummary:
        """Return what happened so far."""
        known = self._scores[: min(self._seen, KEPT)]
        scores = None
        if len(known):
            # No interpolation, which has no answer between infinite scores.
            found = np.quantile(known, QUANTILES, method="inverted_cdf")
            scores = dict(zip(QUANTILES, found.tolist(), strict=True))
        return ShieldSummary(
            self.decisions,
            self.fallbacks,
            self.stops,
            self.unjudged,
            self.threshold,
            scores,
            self.worst,
            self.warning,
        )


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
