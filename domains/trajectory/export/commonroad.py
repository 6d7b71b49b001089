"""Scenes and forecasts as CommonRoad scenarios, version 2020a.

Source: Althoff, Koschi, Manzinger (2017), CommonRoad: Composable Benchmarks for Motion Planning on
Roads, IEEE Intelligent Vehicles Symposium; the format is at https://commonroad.in.tum.de.
"""

import io
from dataclasses import replace
from datetime import date
from pathlib import Path
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

import numpy as np
from numpy.typing import NDArray

from domains.trajectory.export.lanelets import add_points, lanelets, numbered
from domains.trajectory.forecast import Forecast
from domains.trajectory.playback import headings_along
from domains.trajectory.resampling import resampled
from domains.trajectory.scene import Scene
from guided.results import in_one_piece, require_writable

TYPE_OF = {
    "vehicle": "car",
    "pedestrian": "pedestrian",
    "cyclist": "bicycle",
    "bus": "bus",
    "motorcycle": "motorcycle",
    "static": "unknown",
    "other": "unknown",
}
SIZE_OF = {  # length and width in metres: scenes do not say how large an agent is
    "vehicle": (4.5, 1.8),
    "pedestrian": (0.5, 0.5),
    "cyclist": (1.8, 0.6),
    "bus": (12.0, 2.5),
    "motorcycle": (2.2, 0.8),
    "static": (1.0, 1.0),
    "other": (1.0, 1.0),
}
MOVED = 1e-6  # metres
NOWHERE = {"geoNameId": "-999", "gpsLatitude": "999", "gpsLongitude": "999"}


def write_commonroad(path: Path, what: Scene | Forecast, world: int = 0) -> None:
    """Write the agents of a scene as obstacles, and its map as lanelets.

    Of a forecast, agents have their history, since its last gap, and then their path in one world,
    at the scene's steps; of agents that it leaves out, static ones stay and others end now, or are
    left out where they are not seen until then. Shapes are typical
    ones for the agents' kinds. Ids that are positive whole numbers are kept, others are replaced
    by new numbers. Agents of the kind ``static`` that are always there and never move become
    static obstacles.

    Args:
        path: of the XML file.
        what: a scene with a map, or a forecast of one.
        world: index of the forecast's world; 0 for a scene.

    Raises:
        ValueError: for a scene without a map, a world that is not there, an agent that is never
            seen, or one that vanishes and comes back, for which the format has no place.
    """
    path = Path(path)
    scene = _future(what, world) if isinstance(what, Forecast) else what
    if scene.road is None or not scene.road.lanes:
        raise ValueError(f"{scene.name} has no lanes, and CommonRoad needs them; give it a road")
    data = io.BytesIO()
    ElementTree(_document(scene)).write(data, encoding="utf-8", xml_declaration=True)
    require_writable(path)
    with in_one_piece(path) as part:
        part.write_bytes(data.getvalue())


def _future(forecast: Forecast, world: int) -> Scene:
    """Return the scene as it goes on in one world."""
    if not 0 <= world < len(forecast.worlds):
        raise ValueError(f"the forecast has {len(forecast.worlds)} worlds, got the index {world}")
    scene, agents = forecast.scene.history(), forecast.agents
    steps = int(forecast.worlds.shape[2] * forecast.dt / scene.dt + 1e-6)
    path = resampled(forecast, scene.dt, steps).worlds[world]
    fill = ((0, 0), (0, steps))
    positions = np.pad(scene.positions, (*fill, (0, 0)), mode="edge")
    headings, valid = np.pad(scene.headings, fill, mode="edge"), np.pad(scene.valid, fill)
    valid[:, scene.now + 1 :] = (scene.present & (np.array(scene.kinds) == "static"))[:, None]
    positions[agents, scene.now + 1 :], valid[agents, scene.now + 1 :] = path, True
    times = scene.dt * np.arange(steps + 1.0)
    for a in agents:  # the padded headings are those of now
        along = headings_along(times, positions[a, scene.now :], headings[a, scene.now])
        headings[a, scene.now + 1 :] = along[1:]
    whole = replace(scene, positions=positions, headings=headings, valid=_last_stretch(valid))
    return whole.of(np.flatnonzero(valid.any(1)))


def _last_stretch(valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which steps (A, T) belong to an agent's last stretch without a gap."""
    last = valid.shape[1] - 1 - valid[:, ::-1].argmax(1)
    gap = ~valid & (np.arange(valid.shape[1]) < last[:, None])
    return valid & ~np.logical_or.accumulate(gap[:, ::-1], axis=1)[:, ::-1]


def _document(scene: Scene) -> Element:
    root = Element(
        "commonRoad",
        timeStepSize=repr(float(scene.dt)),
        commonRoadVersion="2020a",
        author="",
        affiliation="",
        source="guided",
        benchmarkID=scene.name,
        date=date.today().isoformat(),
    )
    location = SubElement(root, "location")
    for tag, text in NOWHERE.items():
        SubElement(location, tag).text = text
    SubElement(root, "scenarioTags")
    taken: set[int] = set()
    if scene.road is not None:
        root.extend(lanelets(scene.road, taken))
    numbers = numbered(scene.ids, taken)
    nodes = [_obstacle(scene, a, numbers[id]) for a, id in enumerate(scene.ids)]
    root.extend(sorted(nodes, key=lambda node: node.tag, reverse=True))  # static ones come first
    indent(root)
    return root


def _obstacle(scene: Scene, agent: int, number: int) -> Element:
    steps = _steps(scene, agent)
    places, kind = scene.positions[agent, steps], scene.kinds[agent]
    rests = len(steps) == scene.valid.shape[1] and bool((np.ptp(places, axis=0) < MOVED).all())
    still = kind == "static" and rests
    node = Element("staticObstacle" if still else "dynamicObstacle", id=str(number))
    SubElement(node, "type").text = TYPE_OF[kind]
    rectangle = SubElement(SubElement(node, "shape"), "rectangle")
    for tag, metres in zip(("length", "width"), SIZE_OF[kind], strict=True):
        SubElement(rectangle, tag).text = f"{metres:g}"
    moves = np.linalg.norm(np.diff(places, axis=0), axis=-1) / scene.dt
    speeds = np.concatenate([moves[:1], moves]) if len(moves) else np.zeros(1)
    rows = [*zip(steps, places, scene.headings[agent, steps], speeds, strict=True)]
    _add_state(SubElement(node, "initialState"), *rows[0])
    if len(rows) > 1 and not still:
        trajectory = SubElement(node, "trajectory")
        for row in rows[1:]:
            _add_state(SubElement(trajectory, "state"), *row)
    return node


def _steps(scene: Scene, agent: int) -> NDArray[np.int64]:
    steps = np.flatnonzero(scene.valid[agent])
    if not len(steps) or len(steps) <= steps[-1] - steps[0]:
        seen = "comes back after a gap" if len(steps) else "is never seen"
        raise ValueError(
            f"{scene.name}: agent {scene.ids[agent]} {seen}, for which CommonRoad has no place; "
            f"leave it out with scene.of"
        )
    return steps


def _add_state(
    node: Element, step: int, place: NDArray[np.float64], heading: float, speed: float
) -> None:
    add_points(SubElement(node, "position"), place[None])
    values = {"orientation": f"{heading:.6f}", "time": f"{step}", "velocity": f"{speed:.6f}"}
    for tag, text in values.items():
        SubElement(SubElement(node, tag), "exact").text = text
