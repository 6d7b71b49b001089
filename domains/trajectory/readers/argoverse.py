"""Argoverse 2 motion forecasting: a scenario's parquet file and its map as a scene.

Source: Wilson, Qi, Agarwal, Lambert, Singh et al. (2021), Argoverse 2: Next Generation Datasets for
Self-Driving Perception and Forecasting, https://arxiv.org/abs/2301.00493.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domains.trajectory.parquet import read_table
from domains.trajectory.readers.argoverse_map import read_argoverse_map
from domains.trajectory.road import RoadMap
from domains.trajectory.scene import Scene

DT = 0.1  # seconds, of the whole data set
MOST_STEPS = 100_000  # a larger timestep is a mistake, and would fill the memory
SCORED = 2  # and 3, the focal track, are the categories of object that count
COLUMNS = {
    "observed": "bool",
    "track_id": "string",
    "object_type": "string",
    "object_category": "int64",
    "timestep": "int64",
    "position_x": "double",
    "position_y": "double",
    "heading": "double",
    "scenario_id": "string",
}
KIND_OF = {
    "vehicle": "vehicle",
    "pedestrian": "pedestrian",
    "motorcyclist": "motorcycle",
    "cyclist": "cyclist",
    "bus": "bus",
    "static": "static",
    "background": "static",
    "construction": "static",
    "riderless_bicycle": "static",
    "unknown": "other",
}


def read_argoverse(path: Path, road: bool = True) -> Scene:
    """Read one scenario; now is its last observed step, 49 in the data set.

    The focal track and the scored ones are the scene's ``scored``. A scenario of the test split
    has no step after now.

    Args:
        path: the parquet file, or the folder that holds it and the map.
        road: False reads no map.

    Raises:
        ValueError: for a file or a map that is missing, damaged or of another schema, two rows for
            one track and step, a number that is none, or a scenario without observed steps.
    """
    file = _scenario_file(Path(path))
    table = read_table(file, COLUMNS)
    columns = {name: table[name].to_numpy() for name in COLUMNS}
    try:
        return _scene(columns, _map_beside(file) if road else None)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None


def _scenario_file(path: Path) -> Path:
    if not path.is_dir():
        return path
    found = sorted(path.glob("*.parquet"))
    if len(found) != 1:
        raise ValueError(
            f"{path}: expected one parquet file of a scenario, found {len(found)}; "
            f"give the folder of one scenario, or the file"
        )
    return found[0]


def _map_beside(file: Path) -> RoadMap:
    found = sorted(file.parent.glob("log_map_archive_*.json"))
    own = [map for map in found if file.stem.removeprefix("scenario_") in map.stem]
    chosen = own or found
    if len(chosen) != 1:
        raise ValueError(
            f"expected one map log_map_archive_*.json beside it, found {len(chosen)}; "
            f"put it there, or read without a map (road=False)"
        )
    return read_argoverse_map(chosen[0])


def _scene(columns: dict[str, NDArray[Any]], road: RoadMap | None) -> Scene:
    names = np.unique(columns["scenario_id"])
    if len(names) != 1:
        raise ValueError(f"expected rows of one scenario, found {len(names)} scenarios; split it")
    steps = columns["timestep"]
    observed = steps[columns["observed"]]
    if not len(observed):
        raise ValueError("it has no observed steps, so nothing to forecast from; fetch it again")
    if steps.min() < 0 or steps.max() >= MOST_STEPS:
        raise ValueError(
            f"timesteps lie in 0 to {MOST_STEPS - 1}, got {steps.min()} to {steps.max()}; mend them"
        )
    ids, first, rows = np.unique(columns["track_id"], return_index=True, return_inverse=True)
    valid = np.zeros((len(ids), steps.max() + 1), bool)
    positions, headings = np.zeros((*valid.shape, 2)), np.zeros(valid.shape)
    _require_single(ids, rows, steps)
    valid[rows, steps] = True
    positions[rows, steps] = np.stack([columns["position_x"], columns["position_y"]], axis=-1)
    headings[rows, steps] = columns["heading"]
    return Scene(
        name=str(names[0]),
        ids=tuple(str(id) for id in ids),
        kinds=tuple(_kind(str(type)) for type in columns["object_type"][first]),
        positions=positions,
        headings=headings,
        valid=valid,
        now=int(observed.max()),
        dt=DT,
        road=road,
        scored=columns["object_category"][first] >= SCORED,
    )


def _require_single(ids: NDArray[Any], rows: NDArray[Any], steps: NDArray[Any]) -> None:
    cells, counts = np.unique(np.stack([rows, steps]), axis=1, return_counts=True)
    for track, step in cells.T[counts > 1]:
        raise ValueError(f"track {ids[track]} has several rows at timestep {step}; keep one")


def _kind(type: str) -> str:
    if type not in KIND_OF:
        raise ValueError(f"unknown object type {type!r}; expected one of {', '.join(KIND_OF)}")
    return KIND_OF[type]
