"""The lanelets of a CommonRoad file as a map, and the numbers and points of its XML."""

from xml.etree.ElementTree import Element

import numpy as np

from domains.trajectory.bounds import middle
from domains.trajectory.road import Lane, Points, RoadMap

NO_LANES = ("crosswalk", "sidewalk")


def read_lanelets(root: Element) -> RoadMap:
    """Return the map of a file: lanelets as lanes, crosswalks as crossings, and stop lines.

    The centre of a lane is the middle of its bounds. One may change to a lanelet beside it in the
    same direction; marks and signs are not read. Sidewalks are no lanes and are left out.

    Raises:
        ValueError: for a lanelet without an id, or with a bound of fewer than two points.
    """
    nodes = {required(node, "id"): node for node in root.findall("lanelet")}
    if len(nodes) < len(root.findall("lanelet")):
        raise ValueError("two lanelets have one id; rename one")
    types = {id: {t.text for t in node.findall("laneletType")} for id, node in nodes.items()}
    lanes = {id: node for id, node in nodes.items() if not types[id].intersection(NO_LANES)}
    crosswalks = (_lane(id, nodes[id], ()) for id in nodes if "crosswalk" in types[id])
    return RoadMap(
        lanes=tuple(_lane(id, node, tuple(lanes)) for id, node in lanes.items()),
        crossings=tuple(lane.outline for lane in crosswalks),
        stops=tuple(_stop(node) for node in nodes.values() if node.find("stopLine") is not None),
    )


def _lane(id: str, node: Element, lanes: tuple[str, ...]) -> Lane:
    left, right = points(node.find("leftBound")), points(node.find("rightBound"))
    if min(len(left), len(right)) < 2:
        raise ValueError(f"lanelet {id} needs two points or more in each bound; mend it")
    beside = (node.find("adjacentLeft"), node.find("adjacentRight"))
    return Lane(
        id=id,
        centre=middle(left, right),
        left=left,
        right=right,
        successors=tuple(required(part, "ref") for part in node.findall("successor")),
        predecessors=tuple(required(part, "ref") for part in node.findall("predecessor")),
        neighbours=tuple(
            required(part, "ref")
            for part in beside
            if part is not None and part.get("drivingDir") == "same" and part.get("ref") in lanes
        ),
    )


def _stop(node: Element) -> Points:
    """Return a stop line; one without points lies across the lanelet's end."""
    found = points(node.find("stopLine"))
    ends = (points(node.find("leftBound"))[-1:], points(node.find("rightBound"))[-1:])
    return found if len(found) == 2 else np.concatenate(ends)


def points(node: Element | None) -> Points:
    """Return the points right below a node, (n, 2); heights are dropped."""
    found = [] if node is None else node.findall("point")
    return np.array([[decimal(p, "x"), decimal(p, "y")] for p in found]).reshape(-1, 2)


def decimal(node: Element, tag: str) -> float:
    """Return the number in a node's child.

    Raises:
        ValueError: where there is none.
    """
    text = node.findtext(tag, "").strip()
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"<{tag}> in <{node.tag}> holds a number, got {text!r}; mend it") from None


def required(node: Element, name: str) -> str:
    """Return an attribute.

    Raises:
        ValueError: where there is none.
    """
    found = node.get(name)
    if found is None:
        raise ValueError(f"a <{node.tag}> has no attribute {name!r}; add it")
    return found
