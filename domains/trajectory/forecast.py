"""What a predictor returns: K worlds, each with one future for every agent."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domains.trajectory.scene import Scene


@dataclass(frozen=True)
class Forecast:
    """Joint futures of some agents of a scene, in the coordinates of the scene.

    Args:
        scene: what was predicted.
        agents: indices (N,) into the scene's agents, in the order of ``worlds``.
        worlds: (K, N, F, 2) metres; step f is (f + 1) * dt seconds after now.
        dt: seconds between steps of the worlds, which may differ from the scene's.
        probabilities: (K,), with the sum 1.
        goals: what was asked for, to be drawn: triples of a name, a point (2,), an agent's index
            into the scene or None.

    Raises:
        ValueError: for parts that do not fit each other, or probabilities that do not sum to 1.
    """

    scene: Scene
    agents: NDArray[np.int64]
    worlds: NDArray[np.float64]
    dt: float
    probabilities: NDArray[np.float64]
    goals: tuple[tuple[str, NDArray[np.float64], int | None], ...] = ()

    def __post_init__(self) -> None:
        count, agents = self.worlds.shape[:2]
        if self.worlds.ndim != 4 or self.worlds.shape[-1] != 2 or agents != len(self.agents):
            raise ValueError(
                f"worlds need shape (K, {len(self.agents)}, F, 2), got {self.worlds.shape}"
            )
        total = self.probabilities.sum()
        if self.probabilities.shape != (count,) or not np.isclose(total, 1, atol=1e-6):
            raise ValueError(
                f"probabilities need shape ({count},) and the sum 1, got "
                f"{self.probabilities.shape} and {total:.6g}"
            )

    def truth(self) -> NDArray[np.float64]:
        """Return what happened, (N, F, 2) at the steps of the worlds, NaN where nobody was seen.

        Raises:
            ValueError: where dt of the worlds is no multiple of the scene's.
        """
        stride = round(self.dt / self.scene.dt)
        if stride < 1 or abs(stride * self.scene.dt - self.dt) > 1e-6:
            raise ValueError(
                f"the forecast steps {self.dt} s, which is no multiple of the scene's "
                f"{self.scene.dt} s; resample one of them"
            )
        steps = self.scene.now + stride * (1 + np.arange(self.worlds.shape[2]))
        inside = steps < self.scene.valid.shape[1]
        found = np.full((len(self.agents), len(steps), 2), np.nan)
        at = steps[inside]
        seen = self.scene.valid[self.agents][:, at]
        found[:, inside] = np.where(
            seen[..., None], self.scene.positions[self.agents][:, at], np.nan
        )
        return found
