"""The evaluations of checkpoints during training, with both of the numbers that papers report."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from domains.rl.statistics import Over, Summary, summarise


@dataclass(frozen=True, eq=False)
class Curve:
    """Evaluations of C checkpoints of S training seeds, E episodes each.

    Args:
        steps: training steps of the checkpoints, increasing, (C,).
        returns: (C, S, E).
        success: (C, S, E), or None.

    Raises:
        ValueError: if the shapes do not fit, or steps do not increase.
    """

    steps: Sequence[int]
    returns: np.ndarray
    success: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Check the shapes."""
        shapes = [np.shape(x) for x in (self.returns, self.success) if x is not None]
        if len(set(shapes)) > 1 or len(shapes[0]) != 3 or shapes[0][0] != len(self.steps):
            raise ValueError(
                f"Curve got {len(self.steps)} steps and results of shapes {shapes}; give"
                f" (steps, seeds, episodes)"
            )
        if not len(self.steps) or np.any(np.diff(self.steps) <= 0):
            raise ValueError(f"Curve got the steps {list(self.steps)}; give increasing ones")

    def at(self, index: int, over: Over = "seeds") -> Summary:
        """Return the summary of one checkpoint."""
        return self._pick(np.full(self.returns.shape[1], index), over)

    def last(self, over: Over = "seeds") -> Summary:
        """Return the summary of the last checkpoint: the honest number."""
        return self.at(len(self.steps) - 1, over)

    def best(self, over: Over = "seeds") -> Summary:
        """Return the summary of every seed's best checkpoint, by its mean return.

        It flatters: the episodes that judge a checkpoint have also chosen it.
        """
        return self._pick(self._best, over)

    @property
    def best_steps(self) -> list[int]:
        """The training steps of every seed's best checkpoint, (S,)."""
        return [int(self.steps[i]) for i in self._best]

    def to_json(self, over: Over = "seeds") -> dict[str, Any]:
        """Return all checkpoints, the last and the best as what ``json`` writes."""
        return {
            "steps": [int(step) for step in self.steps],
            "curve": [self.at(i, over).to_json() for i in range(len(self.steps))],
            "last": self.last(over).to_json(),
            "best": self.best(over).to_json(),
            "best_steps": self.best_steps,
        }

    @property
    def _best(self) -> np.ndarray:
        return np.asarray(self.returns).mean(axis=2).argmax(axis=0)

    def _pick(self, checkpoint: np.ndarray, over: Over) -> Summary:
        seed = np.arange(len(checkpoint))
        success = None if self.success is None else self.success[checkpoint, seed]
        return summarise(self.returns[checkpoint, seed], success, over=over)
