"""The numbers of linear adaptive guidance."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class LinearTable:
    """How the weak noise estimate of some steps follows from those before.

    Args:
        times: the grid it was fitted on.
        weights: for the index of every foretold step, the factors of the strong noise estimates of
            all steps up to it, then of the weak ones that were evaluated before it.

    Raises:
        ValueError: for factors that do not fit, or a foretold step 0.
    """

    times: tuple[float, ...]
    weights: Mapping[int, tuple[float, ...]]

    def __post_init__(self) -> None:
        for step, factors in self.weights.items():
            fits = 0 < step < len(self.times) - 1 and len(factors) == step + 1 + self.known(step)
            if not fits:
                raise ValueError(
                    f"a table for {len(self.times) - 1} steps cannot foretell step {step} with "
                    f"{len(factors)} factors; make it with fit_linear_ag"
                )

    @property
    def last(self) -> int:
        """Return the last step that is foretold; -1 = none."""
        return max(self.weights, default=-1)

    def known(self, step: int) -> int:
        """Return how many weak estimates are evaluated before a step."""
        return sum(i not in self.weights for i in range(step))

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready description; :meth:`from_dict` is its inverse."""
        weights = {str(step): list(factors) for step, factors in self.weights.items()}
        return {"times": list(self.times), "weights": weights}

    @classmethod
    def from_dict(cls, description: Mapping[str, Any]) -> "LinearTable":
        """Rebuild a table from :meth:`to_dict`.

        Raises:
            ValueError: for a description that lacks something.
        """
        if not {"times", "weights"} <= description.keys():
            raise ValueError(
                f"a table has 'times' and 'weights', got {sorted(description)}; make it with "
                f"fit_linear_ag"
            )
        weights = {int(step): tuple(row) for step, row in description["weights"].items()}
        return cls(tuple(description["times"]), weights)
