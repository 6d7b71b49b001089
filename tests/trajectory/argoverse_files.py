"""A small scenario in the format of Argoverse 2, made here: three tracks, 110 steps, two lanes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

NAME = "small-scenario"
TRACKS = {  # first step, last step, x, speed, type, category
    "AV": (0, 109, 0.0, 5.0, "vehicle", 1),
    "17": (0, 109, 4.0, 8.0, "bus", 3),
    "9": (10, 70, 8.0, 1.0, "cyclist", 2),
    "4": (60, 64, 9.0, 0.0, "riderless_bicycle", 0),
}


def columns(last: int = 109) -> dict[str, list[Any]]:
    """Return rows up to a step; y is speed times time."""
    rows = [
        (step < 50, id, type, category, step, x, 0.1 * step * speed, np.pi / 2, NAME)
        for id, (begin, end, x, speed, type, category) in TRACKS.items()
        for step in range(begin, min(end, last) + 1)
    ]
    names = (
        "observed track_id object_type object_category timestep position_x position_y heading "
        "scenario_id"
    )
    return dict(zip(names.split(), map(list, zip(*rows, strict=True)), strict=True))


def line(*points: tuple[float, float]) -> list[dict[str, float]]:
    return [{"x": x, "y": y, "z": 3.0} for x, y in points]


def segment(id: int, left: Any, right: Any, **more: Any) -> dict[str, Any]:
    return {
        "id": id,
        "lane_type": "VEHICLE",
        "left_lane_boundary": left,
        "right_lane_boundary": right,
        "left_neighbor_id": None,
        "right_neighbor_id": None,
        "predecessors": [],
        "successors": [],
    } | more


def map_parts() -> dict[str, Any]:
    """Three lanes: 1 and 2 go up side by side, 3 comes down left of 1; 1 has a centre line."""
    lanes = [
        segment(
            1,
            line((-2, 0), (-2, 50)),
            line((2, 0), (2, 50)),
            centerline=line((0, 0), (0.5, 25), (0, 50)),
            left_neighbor_id=3,
            right_neighbor_id=2,
            successors=[44],
        ),
        segment(2, line((2, 0), (2, 20), (2, 50)), line((6, 0), (6, 50)), left_neighbor_id=1),
        segment(3, line((-2, 50), (-2, 0)), line((-6, 50), (-6, 0)), left_neighbor_id=1),
    ]
    return {
        "lane_segments": {str(lane["id"]): lane for lane in lanes},
        "drivable_areas": {"7": {"id": 7, "area_boundary": line((-6, 0), (6, 0), (6, 50))}},
        "pedestrian_crossings": {
            "8": {"id": 8, "edge1": line((-6, 9), (6, 9)), "edge2": line((-6, 12), (6, 12))}
        },
    }


def write(folder: Path, rows: dict[str, list[Any]] | None = None, road: bool = True) -> Path:
    """Write a scenario's folder and return it."""
    folder.mkdir(exist_ok=True)
    table = pa.table(columns() if rows is None else rows)
    pa.parquet.write_table(table, folder / f"scenario_{NAME}.parquet")
    if road:
        (folder / f"log_map_archive_{NAME}.json").write_text(json.dumps(map_parts()))
    return folder
