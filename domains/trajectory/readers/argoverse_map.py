"""The vector map of an Argoverse 2 scenario."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from domains.trajectory.bounds import middle
from domains.trajectory.road import Lane, Points, RoadMap


def read_argoverse_map(path: Path) -> RoadMap:
    """Read a ``log_map_archive_*.json``: lanes, drivable areas and crossings; heights are dropped.

    A lane segment without a centre line gets the middle of its bounds. One may change to a lane
    beside it of the same type and direction; the marks between them are not read.

    Raises:
        ValueError: for a file that is no JSON, no such map, or breaks off.
    """
    try:
        parts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path.name} is no whole JSON file ({error}); fetch it again") from None
    try:
        return _map(parts)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path.name} is no map of Argoverse 2 ({type(error).__name__}: {error}); give the "
            f"scenario's own, with lane_segments, drivable_areas and pedestrian_crossings"
        ) from None


def _map(parts: dict[str, Any]) -> RoadMap:
    segments = {str(part["id"]): part for part in parts["lane_segments"].values()}
    centres = {id: _centre(part) for id, part in segments.items()}
    return RoadMap(
        lanes=tuple(_lane(id, segments, centres) for id in segments),
        areas=tuple(_line(part["area_boundary"]) for part in parts["drivable_areas"].values()),
        crossings=tuple(
            np.concatenate([_line(part["edge1"]), _line(part["edge2"])[::-1]])
            for part in parts["pedestrian_crossings"].values()
        ),
    )


def _lane(id: str, segments: dict[str, Any], centres: dict[str, Points]) -> Lane:
    part = segments[id]
    beside = (part["left_neighbor_id"], part["right_neighbor_id"])
    return Lane(
        id=id,
        centre=centres[id],
        left=_line(part["left_lane_boundary"]),
        right=_line(part["right_lane_boundary"]),
        successors=tuple(str(other) for other in part["successors"]),
        predecessors=tuple(str(other) for other in part["predecessors"]),
        neighbours=tuple(
            str(other)
            for other in beside
            if str(other) in segments
            and segments[str(other)]["lane_type"] == part["lane_type"]
            and _way(centres[str(other)]) @ _way(centres[id]) > 0
        ),
    )


def _centre(part: dict[str, Any]) -> Points:
    if part.get("centerline"):
        return _line(part["centerline"])
    return middle(_line(part["left_lane_boundary"]), _line(part["right_lane_boundary"]))


def _line(points: list[dict[str, float]]) -> Points:
    return np.array([[point["x"], point["y"]] for point in points], dtype=np.float64)


def _way(line: Points) -> Points:
    return line[-1] - line[0]
