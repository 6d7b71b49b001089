"""How a policy draws its actions: what a checkpoint keeps beside the networks."""

from dataclasses import dataclass
from math import isnan


@dataclass(frozen=True)
class Sampling:
    """How actions are drawn."""

    steps: int = 15
    """Network calls of an action."""
    scale: float = 1.0
    """Of the guidance by the energy; 0 is the behaviour."""
    candidates: int = 1
    """Actions drawn, of which the critic picks the best."""
    threshold: float | None = None
    """For a policy that knows what is feasible: the best by Q of the candidates with Q_h at most
    this, else the safest; 0 trusts the critic, less leaves room for its errors. None always picks
    the safest."""

    def __post_init__(self) -> None:
        if self.threshold is not None and isnan(self.threshold):
            raise ValueError("threshold must be a number or None, got nan")
