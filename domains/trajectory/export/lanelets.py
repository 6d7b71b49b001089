"""A map as the lanelets of a CommonRoad file, version 2020a."""

from collections.abc import Iterator, Mapping, Sequence
from xml.etree.ElementTree import Element, SubElement

import numpy as np

from domains.trajectory.bounds import paired
from domains.trajectory.road import Lane, Points, RoadMap


def numbered(names: Sequence[str], taken: set[int]) -> dict[str, int]:
    """Return a positive number for each name: itself where it is one and is free, else a new one.

    Args:
        names: all different.
        taken: numbers that are in use already; those that are given out are added.
    """
    found = {}
    for name in names:
        if name.isdecimal() and int(name) > 0 and int(name) not in taken:
            found[name] = int(name)
            taken.add(int(name))
    for name in names:
        if name not in found:
            found[name] = max(taken, default=0) + 1
            taken.add(found[name])
    return found


def lanelets(road: RoadMap, taken: set[int]) -> Iterator[Element]:
    """Make the elements of a map: lanes, and crossings as lanelets of the type crosswalk.

    A stop line is told by the lane that ends nearest to it, one for each lane. Areas and walls
    have no place in the format.

    Args:
        road: the map.
        taken: numbers in use, to which those of the lanelets are added.
    """
    numbers = numbered([lane.id for lane in road.lanes], taken)
    stops = _stops(road)
    lanes = {lane.id: lane for lane in road.lanes}
    for lane in road.lanes:
        node = _lanelet(numbers[lane.id], *paired(lane.left, lane.right))
        for tag, ids in (("predecessor", lane.predecessors), ("successor", lane.successors)):
            for id in ids:
                if id in numbers:
                    SubElement(node, tag, ref=str(numbers[id]))
        for tag, other in _beside(lane, lanes):
            SubElement(node, tag, ref=str(numbers[other]), drivingDir="same")
        if lane.id in stops:
            line = SubElement(node, "stopLine")
            add_points(line, stops[lane.id][[0, -1]])
            SubElement(line, "lineMarking").text = "solid"
        SubElement(node, "laneletType").text = "unknown"
        yield node
    for crossing in road.crossings:
        node = _lanelet(max(taken, default=0) + 1, *_halves(crossing))
        taken.add(int(node.get("id", "")))
        SubElement(node, "laneletType").text = "crosswalk"
        yield node


def add_points(node: Element, points: Points) -> None:
    """Add points (n, 2) below a node, to a micrometre."""
    for x, y in points:
        point = SubElement(node, "point")
        SubElement(point, "x").text = f"{x:.6f}"
        SubElement(point, "y").text = f"{y:.6f}"


def _lanelet(number: int, left: Points, right: Points) -> Element:
    node = Element("lanelet", id=str(number))
    add_points(SubElement(node, "leftBound"), left)
    add_points(SubElement(node, "rightBound"), right)
    return node


def _beside(lane: Lane, lanes: Mapping[str, Lane]) -> Iterator[tuple[str, str]]:
    """Yield at most one lane on each side, the left one first."""
    sides: dict[str, str] = {}
    for id in lane.neighbours:
        if id in lanes:
            sides.setdefault(_side(lane, lanes[id]), id)
    yield from sorted(sides.items())


def _side(lane: Lane, other: Lane) -> str:
    at = other.centre[len(other.centre) // 2]
    near = int(np.linalg.norm(lane.centre - at, axis=-1).argmin())
    way = lane.centre[min(near + 1, len(lane.centre) - 1)] - lane.centre[max(near - 1, 0)]
    across = at - lane.centre[near]
    return "adjacentLeft" if way[0] * across[1] > way[1] * across[0] else "adjacentRight"


def _stops(road: RoadMap) -> dict[str, Points]:
    ends = np.array([lane.centre[-1] for lane in road.lanes])
    found: dict[str, Points] = {}
    for line in road.stops:
        for near in np.linalg.norm(ends - line.mean(0), axis=-1).argsort():
            if road.lanes[near].id not in found:
                found[road.lanes[near].id] = line
                break
    return found


def _halves(polygon: Points) -> tuple[Points, Points]:
    """Return the left and right bound whose outline is a polygon, of which a corner may repeat."""
    extra = max(4 - len(polygon), len(polygon) % 2)
    full = np.concatenate([polygon, np.repeat(polygon[-1:], extra, axis=0)])
    half = len(full) // 2
    return full[half:][::-1], full[:half]
