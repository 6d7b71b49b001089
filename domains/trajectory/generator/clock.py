"""When a simulation runs, and which of its steps are recorded."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TICK = 0.1  # seconds, of the simulation


@dataclass(frozen=True)
class Clock:
    """A simulation in ticks of 0.1 s: some unseen at first, then every ``dt`` seconds is recorded.

    Args:
        steps: recorded.
        dt: seconds between them, a multiple of 0.1.
        now: the last observed one of them.
        warm: seconds that pass before the first.

    Raises:
        ValueError: for fewer than 2 steps, a dt that is no multiple of 0.1 s, or a now that is
            none of the steps.
    """

    steps: int
    dt: float
    now: int
    warm: float = 0.0

    def __post_init__(self) -> None:
        if self.steps < 2:
            raise ValueError(f"a scene needs at least 2 steps, got {self.steps}")
        stride = round(self.dt / TICK)
        if stride < 1 or abs(stride * TICK - self.dt) > 1e-9:
            raise ValueError(
                f"scenes are simulated in steps of {TICK} s, got dt={self.dt:g}; take a multiple"
            )
        if not 0 <= self.now < self.steps:
            raise ValueError(
                f"now is one of the {self.steps} steps, got {self.now}; take 0 to {self.steps - 1}"
            )

    @property
    def recorded(self) -> NDArray[np.int64]:
        """Return the ticks that are recorded, (T,)."""
        return round(self.warm / TICK) + round(self.dt / TICK) * np.arange(self.steps)

    @property
    def ticks(self) -> int:
        """Return how many states there are, the last recorded one included."""
        return int(self.recorded[-1]) + 1

    @property
    def present(self) -> float:
        """Return when now is, in seconds since the first tick."""
        return self.warm + self.now * self.dt

    @property
    def end(self) -> float:
        """Return when the last recorded step is, in seconds since the first tick."""
        return self.warm + (self.steps - 1) * self.dt
