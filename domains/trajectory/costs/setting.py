"""What a cost knows of a scene beside the futures that it scores."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from domains.trajectory.road import RoadMap
from domains.trajectory.scene import Scene

TOLERANCE = 1e-6  # seconds by which a time may miss a step and still be that step


@dataclass(frozen=True)
class Setting:
    """The static part of a planning problem: A agents now, F steps ahead, and the map.

    Tensors are in double precision and metres from ``origin``; a cost casts them to its futures.

    Args:
        ids: A names.
        kinds: A of :data:`domains.trajectory.scene.KINDS`.
        agents: (A,), indices into the scene's agents.
        positions: (A, 2) now.
        velocities: (A, 2) now, metres a second; NaN for an agent that was seen once.
        headings: (A,) now, radians.
        dt: seconds between steps of a future; step f is (f + 1) * dt seconds after now.
        horizon: F.
        elapsed: seconds from when the velocities were measured to the middle of the first step.
        origin: (2,), to be added to go back to the scene's coordinates.
        road: the map, in the scene's coordinates; None where there is none.
    """

    ids: tuple[str, ...]
    kinds: tuple[str, ...]
    agents: NDArray[np.int64]
    positions: Tensor
    velocities: Tensor
    headings: Tensor
    dt: float
    horizon: int
    elapsed: float
    origin: NDArray[np.float64]
    road: RoadMap | None = None

    @classmethod
    def of(
        cls,
        scene: Scene,
        agents: Sequence[int] | NDArray,
        dt: float,
        horizon: int,
        origin: ArrayLike,
    ) -> "Setting":
        """Return the setting of some agents of a scene, whose future is not read.

        Args:
            scene: where it takes place.
            agents: (A,), indices in the order of the futures, as in a
                :class:`~domains.trajectory.batch.Case`.
            dt: seconds between steps of a future.
            horizon: F, steps of a future.
            origin: (2,), what was subtracted from positions, in the scene's coordinates.

        Raises:
            ValueError: for an agent that is not seen now, or a horizon without steps.
        """
        if horizon < 1 or not dt > 0:
            raise ValueError(
                f"a setting needs a step or more of a positive time, got {horizon} steps of {dt} s"
            )
        now = scene.history()
        index, origin = np.asarray(agents, dtype=np.int64), np.asarray(origin, dtype=float)
        for a in index[~now.present[index]][:1]:
            raise ValueError(
                f"{scene.name}: agent {scene.ids[a]} is not seen now, so it has no future to "
                f"constrain; leave it out"
            )
        velocities = np.where(now.valid.sum(1)[:, None] > 1, now.velocities(), np.nan)
        return cls(
            ids=tuple(scene.ids[a] for a in index),
            kinds=tuple(scene.kinds[a] for a in index),
            agents=index,
            positions=torch.as_tensor(now.positions[index, -1] - origin),
            velocities=torch.as_tensor(velocities[index]),
            headings=torch.as_tensor(now.headings[index, -1]),
            dt=dt,
            horizon=horizon,
            elapsed=(dt + scene.dt) / 2,
            origin=origin,
            road=scene.road,
        )

    @property
    def duration(self) -> float:
        """Return the seconds from now to the last step."""
        return self.horizon * self.dt

    def only(self, agents: Sequence[int]) -> "Setting":
        """Return the setting of some of its agents, by their place in it.

        Raises:
            ValueError: for no agent, or a place that the setting does not have.
        """
        index = list(agents)
        if not index or not all(0 <= a < len(self.ids) for a in index):
            raise ValueError(
                f"a cost needs agents out of 0 to {len(self.ids) - 1}, got {index}; name one of "
                f"the {len(self.ids)} agents"
            )
        return replace(
            self,
            ids=tuple(self.ids[a] for a in index),
            kinds=tuple(self.kinds[a] for a in index),
            agents=self.agents[index],
            positions=self.positions[index],
            velocities=self.velocities[index],
            headings=self.headings[index],
        )

    def place(self, id: str) -> int:
        """Return the place of an agent in the setting.

        Raises:
            ValueError: for an agent that has no future here.
        """
        if id not in self.ids:
            shown = ", ".join(self.ids[:12])
            raise ValueError(f"no agent {id!r} is predicted here; name one of: {shown}")
        return self.ids.index(id)

    def local(self, points: ArrayLike) -> Tensor:
        """Return points (..., 2) of the scene as metres from the origin.

        Raises:
            ValueError: for a coordinate that is no number.
        """
        found = np.asarray(points, dtype=float)
        if found.shape[-1:] != (2,) or not np.isfinite(found).all():
            raise ValueError(f"points need shape (..., 2) and finite coordinates, got {points!r}")
        return torch.as_tensor(found - self.origin)

    def moment(self, time: float | None) -> float:
        """Return a time after now in seconds; None is the last step's.

        Raises:
            ValueError: for a time outside the horizon.
        """
        if time is None:
            return self.duration
        if not 0 < time <= self.duration + TOLERANCE:
            raise ValueError(
                f"{time:g} s lies outside the horizon, which ends {self.duration:g} s after now; "
                f"choose a time above 0 and up to that"
            )
        return time

    def map(self) -> RoadMap:
        """Return the map.

        Raises:
            ValueError: where the scene has none.
        """
        if self.road is None:
            raise ValueError("the scene has no map; drop the constraint, or load one with a map")
        return self.road
