"""What a predictor returns: K worlds, each with one future for every agent."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domains.trajectory.scene import Scene
from domains.trajectory.truth import happened


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
        ValueError: for parts that do not fit each other, an agent who is given twice or not seen
            now, a world or goal with a coordinate that is no number, or probabilities that are
            negative or do not sum to 1.
    """

    scene: Scene
    agents: NDArray[np.int64]
    worlds: NDArray[np.float64]
    dt: float
    probabilities: NDArray[np.float64]
    goals: tuple[tuple[str, NDArray[np.float64], int | None], ...] = ()

    def __post_init__(self) -> None:
        self._require_agents()
        self._require_worlds()
        self._require_goals()

    def _require_agents(self) -> None:
        name, agents, there = self.scene.name, self.agents, self.scene.agents
        if agents.ndim != 1 or agents.dtype.kind not in "iu":
            raise ValueError(
                f"{name}: agents need one axis of whole numbers, got {agents.dtype} of shape "
                f"{agents.shape}; give indices into the scene's agents"
            )
        for agent in agents[(agents < 0) | (agents >= there)]:
            raise ValueError(
                f"{name}: there is no agent {agent}; give indices below {there}, the number of the "
                f"scene's agents"
            )
        if len(set(agents.tolist())) < len(agents):
            raise ValueError(
                f"{name}: agents are predicted once each, got {agents.tolist()}; drop the repeats"
            )
        for agent in agents[~self.scene.present[agents]]:
            raise ValueError(
                f"{name}: agent {self.scene.ids[agent]} is not seen now, where its path begins; "
                f"leave it out of the forecast"
            )

    def _require_worlds(self) -> None:
        name, worlds, chances = self.scene.name, self.worlds, self.probabilities
        expected = (len(self.agents), 2)
        if worlds.ndim != 4 or (worlds.shape[1], worlds.shape[3]) != expected:
            raise ValueError(
                f"{name}: worlds need shape (K, {len(self.agents)}, F, 2), got {worlds.shape}"
            )
        if not np.isfinite(worlds).all():
            raise ValueError(
                f"{name}: a world has a coordinate that is no number; mend the forecast"
            )
        if chances.shape != (len(worlds),):
            raise ValueError(
                f"{name}: probabilities need shape ({len(worlds)},), one for each world, got "
                f"{chances.shape}"
            )
        if not (chances >= 0).all() or not np.isclose(chances.sum(), 1, atol=1e-6):
            least, total = chances.min(initial=1), chances.sum()
            raise ValueError(
                f"{name}: probabilities are 0 or more and have the sum 1, got {least:.6g} at least "
                f"and the sum {total:.6g}; divide shares by their sum"
            )
        if not 0 < self.dt < np.inf:
            raise ValueError(f"{name}: dt is a positive time in seconds, got {self.dt}")

    def _require_goals(self) -> None:
        for goal, point, agent in self.goals:
            where = f"{self.scene.name}: the goal {goal!r}"
            if point.shape != (2,) or not np.isfinite(point).all():
                raise ValueError(f"{where} needs a point of two finite numbers, got {point}")
            if agent is not None and not 0 <= agent < self.scene.agents:
                raise ValueError(
                    f"{where} is of agent {agent}, but the scene has {self.scene.agents}; give an "
                    f"index into its agents"
                )

    def truth(self) -> NDArray[np.float64]:
        """Return what happened, (N, F, 2) at the steps of the worlds, NaN where nobody was seen.

        Raises:
            ValueError: where dt of the worlds is no multiple of the scene's, to 2 %.
        """
        return happened(self.scene, self.agents, self.dt, self.worlds.shape[2])
