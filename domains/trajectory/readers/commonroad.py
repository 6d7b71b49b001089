"""CommonRoad scenarios, versions 2018b and 2020a: obstacles as agents, lanelets as the map.

Source: Althoff, Koschi, Manzinger (2017), CommonRoad: Composable Benchmarks for Motion Planning on
Roads, IEEE Intelligent Vehicles Symposium; the formats are at https://commonroad.in.tum.de.
"""

from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np

from domains.trajectory.readers.lanelets import decimal, points, read_lanelets, required
from domains.trajectory.scene import MOST_STEPS, Scene, directions

OBSTACLES = ("obstacle", "dynamicObstacle", "staticObstacle")
KIND_OF = {
    "car": "vehicle",
    "truck": "vehicle",
    "taxi": "vehicle",
    "priorityVehicle": "vehicle",
    "parkedVehicle": "vehicle",
    "bus": "bus",
    "bicycle": "cyclist",
    "pedestrian": "pedestrian",
    "motorcycle": "motorcycle",
}


class State(NamedTuple):
    """Where an obstacle is at one step; the heading is NaN where the file has none."""

    step: int
    x: float
    y: float
    heading: float


class Track(NamedTuple):
    """An obstacle and its states."""

    id: str
    kind: str
    states: tuple[State, ...]

    @property
    def still(self) -> bool:
        """Return whether it never moves, and is there at every step."""
        return self.kind == "static"


def read_commonroad(path: Path, now: int | None = None, road: bool = True) -> Scene:
    """Read a scenario; steps of the scene are the time steps of the file.

    An interval or a region counts as its middle. A state without an orientation is headed where the
    obstacle moves; a dynamic one without a trajectory is seen at its initial step alone. Static
    obstacles have the kind ``static`` at all steps. Occupancy sets, planning problems, phantom and
    environment obstacles are not read.

    Args:
        path: of the XML file.
        now: step that is called now; by default a third of the way from the first step at which a
            dynamic obstacle is seen to the last.
        road: False reads no map.

    Raises:
        ValueError: for a file that is missing, no XML, not of CommonRoad or without lanelets, for
            two obstacles of one id, two states at one step, or a value that is no number.
    """
    path = Path(path)
    root = _root(path)
    try:
        return _scene(root, path.stem, now, road)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _root(path: Path) -> Element:
    try:
        root = ElementTree.parse(path).getroot()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); give an XML file") from None
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise ValueError(f"{path}: no whole XML file ({error}); fetch it again") from None
    if root.tag != "commonRoad":
        raise ValueError(f"{path}: expected a <commonRoad> file, got <{root.tag}>; give a scenario")
    return root


def _scene(root: Element, stem: str, now: int | None, road: bool) -> Scene:
    if road and root.find("lanelet") is None:
        raise ValueError("it has no lanelets, so no map; add them, or read without (road=False)")
    try:
        dt = float(required(root, "timeStepSize"))
    except ValueError as error:
        raise ValueError(f"timeStepSize holds the seconds of a step ({error}); mend it") from None
    tracks = [_track(node) for tag in OBSTACLES for node in root.findall(tag)]
    moving = [state.step for track in tracks if not track.still for state in track.states] or [0]
    first, last = min(moving), max(moving)
    now = first + (last - first) // 3 if now is None else now
    shape = (len(tracks), last + 1)
    values, valid = np.full((*shape, 3), np.nan), np.zeros(shape, bool)
    for row, track in enumerate(tracks):
        for step, *state in track.states:
            at = slice(None) if track.still else step
            values[row, at], valid[row, at] = state, True
    positions, headings = values[..., :2], values[..., 2]
    return Scene(
        name=root.get("benchmarkID") or stem,
        ids=tuple(track.id for track in tracks),
        kinds=tuple(track.kind for track in tracks),
        positions=positions,
        headings=np.where(np.isnan(headings), directions(positions, valid, now), headings),
        valid=valid,
        now=now,
        dt=dt,
        road=read_lanelets(root) if road else None,
    )


def _track(node: Element) -> Track:
    id = required(node, "id")
    begin = node.find("initialState")
    if begin is None:
        raise ValueError(f"obstacle {id} has no initial state; add it")
    try:
        states = tuple(_state(part) for part in (begin, *node.findall("trajectory/state")))
    except ValueError as error:
        raise ValueError(f"obstacle {id}: {error}") from None
    still = node.tag == "staticObstacle" or node.findtext("role", "").strip() == "static"
    steps = [state.step for state in states]
    for step in steps:
        if steps.count(step) > 1:
            raise ValueError(f"obstacle {id} has several states at step {step}; keep one")
    type = node.findtext("type", "").strip()
    return Track(id, "static" if still else KIND_OF.get(type, "other"), states)


def _state(node: Element) -> State:
    time = _middle(node, "time")
    if not 0 <= time < MOST_STEPS:
        raise ValueError(f"time steps lie in 0 to {MOST_STEPS - 1}, got {time:g}; mend it")
    heading = np.nan if node.find("orientation") is None else _middle(node, "orientation")
    return State(round(time), *_place(node), heading)


def _middle(node: Element, tag: str) -> float:
    """Return a value, or the middle of an interval."""
    part = node.find(tag)
    if part is None:
        raise ValueError(f"a <{node.tag}> has no <{tag}>; add it")
    if part.find("exact") is not None:
        return decimal(part, "exact")
    return (decimal(part, "intervalStart") + decimal(part, "intervalEnd")) / 2


def _place(node: Element) -> tuple[float, float]:
    """Return a point, the centre of a shape, or the mean of a polygon's corners."""
    for path in ("position", "position/polygon"):
        found = points(node.find(path))
        if len(found):
            x, y = found.mean(0)
            return float(x), float(y)
    for path in ("position/rectangle/center", "position/circle/center"):
        centre = node.find(path)
        if centre is not None:
            return decimal(centre, "x"), decimal(centre, "y")
    raise ValueError(f"the position of a <{node.tag}> is no point and no shape; mend it")
