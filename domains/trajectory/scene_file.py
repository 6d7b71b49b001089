"""Scenes and forecasts as JSON: a format for data of one's own, and between two commands.

A file holds one object: ``scene`` (see :func:`scene_object`) and, for a forecast, ``forecast``.
At a step whose row has no heading, an agent is headed where it moves.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domains.trajectory.forecast import Forecast
from domains.trajectory.road import Lane, RoadMap
from domains.trajectory.scene import MOST_STEPS, Scene, directions
from guided.results import require_writable, write_json

DIGITS = 4  # of a coordinate: a tenth of a millimetre
MAP_PARTS = ("areas", "crossings", "stops", "walls")


def write_scene(path: Path, scene: Scene) -> None:
    """Write a scene in one piece."""
    require_writable(path)
    write_json(path, {"scene": scene_object(scene)})


def write_forecast(path: Path, forecast: Forecast) -> None:
    """Write a forecast with its scene in one piece."""
    require_writable(path)
    goals = [[name, _list(point), agent] for name, point, agent in forecast.goals]
    worlds = {
        "agents": forecast.agents.tolist(),
        "dt": forecast.dt,
        "probabilities": forecast.probabilities.tolist(),
        "worlds": _list(forecast.worlds),
        "goals": goals,
    }
    write_json(path, {"scene": scene_object(forecast.scene), "forecast": worlds})


def read_scene(path: Path) -> Scene:
    """Read the scene of a file, with or without a forecast.

    Raises:
        ValueError: for a file that is not of this form, in one sentence.
    """
    return _read(path)[0]


def read_forecast(path: Path) -> Forecast:
    """Read a forecast.

    Raises:
        ValueError: for a file that is not of this form, or a scene without a forecast.
    """
    found = _read(path)[1]
    if found is None:
        raise ValueError(f"{path} holds a scene and no forecast; make one with predict or guide")
    return found


def file_name(scene: Scene) -> str:
    """Return a scene's name as that of a file: no part of it leads to another folder."""
    return re.sub(r"[^\w.\-]+", "_", scene.name).lstrip(".") or "scene"


def free_name(scene: Scene, taken: set[str]) -> str:
    """Return :func:`file_name`, numbered where it is taken, and take it."""
    name, count = file_name(scene), 1
    while (found := name if count == 1 else f"{name}-{count}") in taken:
        count += 1
    taken.add(found)
    return found


def forecast_in(source: str) -> Forecast | None:
    """Return the forecast of a source that is a file with one, else None.

    Raises:
        ValueError: for a .json file that is not of this form.
    """
    if not source.endswith(".json") or not Path(source).is_file():
        return None
    return _read(Path(source))[1]


def scene_object(scene: Scene) -> dict[str, Any]:
    """Return a scene as JSON: tracks have ``id``, ``kind``, and rows ``[step, x, y, heading]``."""
    tracks = []
    for a, (id, kind) in enumerate(zip(scene.ids, scene.kinds, strict=True)):
        steps = np.flatnonzero(scene.valid[a])
        rows = [
            [int(s), *_list(scene.positions[a, s]), round(float(scene.headings[a, s]), DIGITS)]
            for s in steps
        ]
        track: dict[str, Any] = {"id": id, "kind": kind, "steps": rows}
        if scene.scored is not None:
            track["scored"] = bool(scene.scored[a])
        tracks.append(track)
    return {
        "name": scene.name,
        "dt": scene.dt,
        "now": scene.now,
        "steps": scene.valid.shape[1],
        "tracks": tracks,
        "map": None if scene.road is None else _map_object(scene.road),
    }


def _read(path: Path) -> tuple[Scene, Forecast | None]:
    try:
        held = _object(json.loads(Path(path).read_text()), "the file")
        scene = _scene(_object(held["scene"], "scene"))
        if "forecast" not in held:
            return scene, None
        found = _object(held["forecast"], "forecast")
        goals = tuple((n, np.array(p, float), a) for n, p, a in found.get("goals", []))
        return scene, Forecast(
            scene,
            np.array(found["agents"], np.int64),
            np.array(found["worlds"], float),
            float(found["dt"]),
            np.array(found["probabilities"], float),
            goals,
        )
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read {path} ({error}); check the path") from None
    except KeyError as error:
        raise ValueError(f"{path} lacks the entry {error}; see the format in its docs") from None
    except RecursionError:
        raise ValueError(f"{path} is no scene file: it is nested too deeply; mend it") from None
    except (TypeError, IndexError, OverflowError, ValueError) as error:
        raise ValueError(f"{path} is no scene file: {error}") from None


def _object(held: Any, name: str) -> dict[str, Any]:
    if not isinstance(held, dict):
        raise ValueError(f"{name} needs to be an object, got {type(held).__name__}")
    return held


def _scene(held: dict[str, Any]) -> Scene:
    tracks = [_object(track, "a track") for track in held["tracks"]]
    steps, now = int(held["steps"]), int(held["now"])
    if not isinstance(held["name"], str):
        raise ValueError(f"the scene's name needs to be text, got {held['name']!r}; put quotes")
    if steps > MOST_STEPS:
        raise ValueError(f"a scene has {MOST_STEPS} steps at most, got {steps}; cut it")
    shape = (len(tracks), steps)
    positions, headings, valid = np.zeros((*shape, 2)), np.zeros(shape), np.zeros(shape, bool)
    given = np.zeros(shape, bool)
    for a, track in enumerate(tracks):
        for step, x, y, *heading in _rows(track, steps):
            positions[a, step], valid[a, step] = (x, y), True
            headings[a, step] = heading[0] if heading else 0.0
            given[a, step] = bool(heading)
    scored = [bool(track.get("scored", True)) for track in tracks]
    return Scene(
        name=held["name"],
        ids=tuple(str(track["id"]) for track in tracks),
        kinds=tuple(track["kind"] for track in tracks),
        positions=positions,
        headings=np.where(given, headings, directions(positions, valid, now)),
        valid=valid,
        now=now,
        dt=float(held["dt"]),
        road=None if held.get("map") is None else _map(_object(held["map"], "map")),
        scored=np.array(scored) if any("scored" in track for track in tracks) else None,
    )


def _rows(track: dict[str, Any], steps: int) -> Iterator[list[Any]]:
    seen = set()
    for row in track["steps"]:
        if not isinstance(row, list) or len(row) not in (3, 4):
            raise ValueError(
                f"track {track['id']} needs rows of step, x, y and perhaps heading, got {row}"
            )
        if row[0] in seen or not 0 <= row[0] < steps:
            raise ValueError(
                f"track {track['id']} has step {row[0]} twice or outside 0..{steps - 1}"
            )
        seen.add(row[0])
        yield row


def _map_object(road: RoadMap) -> dict[str, Any]:
    lanes = [
        {
            "id": lane.id,
            "centre": _list(lane.centre),
            "left": _list(lane.left),
            "right": _list(lane.right),
            "successors": lane.successors,
            "predecessors": lane.predecessors,
            "neighbours": lane.neighbours,
        }
        for lane in road.lanes
    ]
    return {"lanes": lanes, **{n: [_list(x) for x in getattr(road, n)] for n in MAP_PARTS}}


def _map(held: dict[str, Any]) -> RoadMap:
    lines = {name: tuple(np.array(x, float) for x in held.get(name, [])) for name in MAP_PARTS}
    lanes = [_lane(_object(lane, "a lane")) for lane in held.get("lanes", [])]
    return RoadMap(lanes=tuple(lanes), **lines)


def _lane(held: dict[str, Any]) -> Lane:
    names = ("successors", "predecessors", "neighbours")
    links = {name: tuple(str(i) for i in held.get(name, [])) for name in names}
    left, right = np.array(held["left"], float), np.array(held["right"], float)
    centre = held.get("centre")
    return Lane(
        id=str(held["id"]),
        centre=np.array(centre, float) if centre is not None else (left + right) / 2,
        left=left,
        right=right,
        **links,
    )


def _list(array: NDArray) -> Any:
    return np.round(array, DIGITS).tolist()
