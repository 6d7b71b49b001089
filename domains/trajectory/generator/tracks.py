"""What a simulation leaves, put at a random place and turned into a scene."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from domains.trajectory.generator.clock import Clock
from domains.trajectory.road import Points, RoadMap
from domains.trajectory.scene import Scene

SPREAD = 200.0  # metres, how far from the origin a scene may lie
FEWEST = 4  # agents that such a window shows now
PARTLY = 0.25  # of the scenes are seen through a window that agents enter and leave


@dataclass(frozen=True)
class Tracks:
    """A agents over the T recorded steps.

    Args:
        kinds: A of :data:`domains.trajectory.scene.KINDS`.
        positions: (A, T, 2).
        headings: (A, T).
        valid: (A, T).
        road: the map.
        window: metres about the middle of the agents now, within which a partly seen scene is seen:
            the smallest and the largest.
    """

    kinds: tuple[str, ...]
    positions: NDArray[np.float64]
    headings: NDArray[np.float64]
    valid: NDArray[np.bool_]
    road: RoadMap
    window: tuple[float, float]


def scene(tracks: Tracks, name: str, clock: Clock, rng: np.random.Generator) -> Scene:
    """Return tracks as a scene at a random place, sometimes seen through a window only."""
    angle, offset = rng.uniform(-np.pi, np.pi), rng.uniform(-SPREAD, SPREAD, 2)
    valid = _seen(tracks, clock, rng)
    kept = np.asarray(valid.any(-1))
    place = _Place(angle, offset)
    headings = np.angle(np.exp(1j * (tracks.headings[kept] + angle)))
    return Scene(
        name=name,
        ids=tuple(str(i) for i in range(kept.sum())),
        kinds=tuple(k for k, keep in zip(tracks.kinds, kept, strict=True) if keep),
        positions=np.where(valid[kept][..., None], place(tracks.positions[kept]), 0.0),
        headings=np.where(valid[kept], headings, 0.0),
        valid=valid[kept],
        now=clock.now,
        dt=clock.dt,
        road=place.road(tracks.road),
    )


def _seen(tracks: Tracks, clock: Clock, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return who is seen when; a window shows at least :data:`FEWEST` agents now."""
    valid = tracks.valid
    partly, radius = rng.random() < PARTLY, rng.uniform(*tracks.window)
    if not partly:
        return valid
    middle = np.median(tracks.positions[valid[:, clock.now], clock.now], axis=0)
    inside = np.linalg.norm(tracks.positions - middle, axis=-1) <= radius
    seen = valid & inside
    return seen if seen[:, clock.now].sum() >= FEWEST else valid


@dataclass(frozen=True)
class _Place:
    angle: float
    offset: NDArray[np.float64]

    def __call__(self, points: Points) -> Points:
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return points @ np.array([[cos, sin], [-sin, cos]]) + self.offset

    def road(self, road: RoadMap) -> RoadMap:
        lanes = tuple(
            replace(x, centre=self(x.centre), left=self(x.left), right=self(x.right))
            for x in road.lanes
        )
        names = ("areas", "crossings", "stops", "walls")
        parts = {name: tuple(map(self, getattr(road, name))) for name in names}
        return replace(road, lanes=lanes, **parts)
