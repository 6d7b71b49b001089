"""The map of a scene: lanes, crossings, drivable areas and stop lines, in metres."""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Lane:
    """A lane, driven from the first to the last point of its centre.

    Args:
        id: unique among the lanes of a map.
        centre: (L, 2).
        left: its left bound (n, 2), in the lane's direction.
        right: its right bound (m, 2), in the lane's direction.
        successors: ids of the lanes that follow; some may lie outside the map.
        predecessors: ids of the lanes before.
        neighbours: ids of lanes beside it that one may change to.
    """

    id: str
    centre: Points
    left: Points
    right: Points
    successors: tuple[str, ...] = ()
    predecessors: tuple[str, ...] = ()
    neighbours: tuple[str, ...] = ()

    @property
    def outline(self) -> Points:
        """Return the lane's polygon (n + m, 2): up the right bound, back down the left one."""
        return np.concatenate([self.right, self.left[::-1]])


@dataclass(frozen=True)
class RoadMap:
    """Everything static. A map without a part says nothing of it.

    Args:
        lanes: see :class:`Lane`.
        areas: polygons (n, 2) in which vehicles may be; without any, the lanes' outlines are that.
        crossings: polygons (n, 2) where pedestrians cross.
        stops: lines (n, 2) before which vehicles may have to stop.
        walls: lines (n, 2) that nobody passes.

    Raises:
        ValueError: for two lanes of one id, or a line of fewer than two points or with a NaN.
    """

    lanes: tuple[Lane, ...] = ()
    areas: tuple[Points, ...] = ()
    crossings: tuple[Points, ...] = ()
    stops: tuple[Points, ...] = ()
    walls: tuple[Points, ...] = field(default=())

    def __post_init__(self) -> None:
        ids = [lane.id for lane in self.lanes]
        twice = sorted({i for i in ids if ids.count(i) > 1}) if len(set(ids)) < len(ids) else []
        if twice:
            raise ValueError(f"a map needs one lane for each id, got several for {twice[:3]}")
        for lane in self.lanes:
            for name in ("centre", "left", "right"):
                _require_line(f"the {name} of lane {lane.id}", getattr(lane, name))
        for name in ("areas", "crossings", "stops", "walls"):
            for line in getattr(self, name):
                _require_line(f"one of the map's {name}", line)

    def lane(self, id: str) -> Lane:
        """Return a lane by its id.

        Raises:
            ValueError: for an id that the map does not have.
        """
        for lane in self.lanes:
            if lane.id == id:
                return lane
        known = ", ".join(lane.id for lane in self.lanes[:8])
        raise ValueError(f"the map has no lane {id!r}; it has {len(self.lanes)}: {known}, ...")

    def drivable(self) -> tuple[Points, ...]:
        """Return polygons whose union is where vehicles may be; empty where the map has none."""
        return self.areas or tuple(lane.outline for lane in self.lanes)

    def near(self, centres: Points, reach: float) -> "RoadMap":
        """Return what has a point within so many metres of one of the centres (n, 2)."""

        def keeps(line: Points) -> bool:
            gaps = np.linalg.norm(line[:, None] - centres[None], axis=-1)
            return bool((gaps <= reach).any())

        parts = {
            name: tuple(line for line in getattr(self, name) if keeps(line))
            for name in ("areas", "crossings", "stops", "walls")
        }
        return replace(self, lanes=tuple(x for x in self.lanes if keeps(x.centre)), **parts)


def _require_line(name: str, points: Points) -> None:
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 2:
        raise ValueError(f"{name} needs shape (n, 2) with n >= 2, got {points.shape}")
    if not np.isfinite(points).all():
        raise ValueError(f"{name} has a coordinate that is no number; mend the map")
