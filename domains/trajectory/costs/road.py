"""Where the map, or a line drawn by hand, lets agents go."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from domains.trajectory.costs.cost import ALWAYS, Cost, Span, at_least
from domains.trajectory.costs.segments import line, polygons
from domains.trajectory.costs.setting import Setting
from domains.trajectory.road import Lane, Points

SLACK = 20.0  # metres beyond what agents may drive, within which areas are kept
JOINT = 3.0  # metres between the end of a lane and the start of the next one, at most
PARALLEL = 0.1  # sine of the angle to a line below which a heading does not say towards it


class OnRoad(Cost):
    r"""The squared distance to the drivable area, 0 on it: :math:`\sum_f d(p_f)^2 \, dt`.

    Areas that the constrained agents cannot reach within the horizon at twice their speed are not
    looked at.

    Args:
        setting: of all agents.
        agents: places of those who stay on the road.
        span: when.

    Raises:
        ValueError: without a map, or one that has no drivable area near the agents.
    """

    def __init__(self, setting: Setting, agents: Sequence[int], span: Span = ALWAYS) -> None:
        super().__init__(setting, agents)
        outlines = [setting.local(area) for area in setting.map().drivable()]
        speed = torch.linalg.vector_norm(self.setting.velocities.nan_to_num(), dim=-1).max()
        reach = float(SLACK + 2 * speed * setting.duration)
        kept = [o for o in outlines if _box_gap(o, self.setting.positions) <= reach]
        if not kept:
            raise ValueError(
                f"the map has no drivable area within {reach:.0f} m of the agents; drop the "
                f"constraint, or load the map around them"
            )
        self.area = polygons(kept)
        self.steps, self.seconds = span.steps(setting, setting.horizon), setting.dt

    def violations(self, p: Tensor) -> Tensor:
        """Return the distances (R, N, S), metres."""
        return self.area.outside(self.of(p)[:, :, self.steps])


class Corridor(Cost):
    """The squared distance to a polygon, 0 inside, summed over time.

    Args:
        setting: of all agents.
        agents: places of those who stay inside.
        corners: (n, 2), in the scene's coordinates.
        span: when.

    Raises:
        ValueError: for less than three corners, or a span outside the horizon.
    """

    def __init__(
        self, setting: Setting, agents: Sequence[int], corners: ArrayLike, span: Span = ALWAYS
    ) -> None:
        super().__init__(setting, agents)
        self.area = polygons([setting.local(corners)])
        self.steps, self.seconds = span.steps(setting, setting.horizon), setting.dt

    def violations(self, p: Tensor) -> Tensor:
        """Return the distances (R, N, S), metres."""
        return self.area.outside(self.of(p)[:, :, self.steps])


class InLane(Cost):
    """How far a centre is beside its lane: the distance to the centre line beyond half the width.

    The lane goes on straight at both ends, so that nobody has to stop at the end of a short one.

    Args:
        setting: of all agents.
        agents: places of those who stay in it.
        lane: its id on the map.
        span: when.

    Raises:
        ValueError: without a map or for a lane that it does not have.
    """

    def __init__(
        self, setting: Setting, agents: Sequence[int], lane: str, span: Span = ALWAYS
    ) -> None:
        super().__init__(setting, agents)
        found = setting.map().lane(lane)
        keep = np.append(True, np.abs(np.diff(found.centre, axis=0)).sum(-1) > 0)
        self.centre = line(setting.local(found.centre[keep]), endless=True)
        half = half_widths(found)[keep]
        self.half = torch.as_tensor((half[:-1] + half[1:]) / 2)
        self.steps, self.seconds = span.steps(setting, setting.horizon), setting.dt

    def violations(self, p: Tensor) -> Tensor:
        """Return the distances (R, N, S) beyond the lane's bounds, metres."""
        own = self.of(p)[:, :, self.steps]
        nearest = self.centre.nearest(own)
        return (self.centre.distance(own, nearest) - self.half.to(p)[nearest]).relu()


class Route(Cost):
    """The squared distance to a line, which goes on straight at both ends, summed over time.

    Args:
        setting: of all agents.
        agents: places of those who follow it.
        points: (n, 2), in the scene's coordinates; see :func:`centre_of` for lanes.
        span: when.

    Raises:
        ValueError: for a line without length, or a span outside the horizon.
    """

    def __init__(
        self, setting: Setting, agents: Sequence[int], points: ArrayLike, span: Span = ALWAYS
    ) -> None:
        super().__init__(setting, agents)
        self.line = line(setting.local(points), endless=True)
        self.steps, self.seconds = span.steps(setting, setting.horizon), setting.dt

    def violations(self, p: Tensor) -> Tensor:
        """Return the distances (R, N, S), metres."""
        return self.line.distance(self.of(p)[:, :, self.steps])


class StopBefore(Cost):
    r"""A line that is not crossed, :math:`\sum_f \max(0, n \cdot (p_f - q) + m)^2 \, dt`.

    n is the normal of the line, on the side to which the agent is heading now. Of an agent that
    heads along the line, the side where it is now counts as before it. The line has no ends.

    Args:
        setting: of all agents.
        agents: places of those who stop.
        points: two points q (2, 2) of the line, in the scene's coordinates.
        gap: m, metres that are left before the line.

    Raises:
        ValueError: for another number of points, two equal ones, or a negative gap.
    """

    def __init__(
        self, setting: Setting, agents: Sequence[int], points: ArrayLike, gap: float = 0.0
    ) -> None:
        super().__init__(setting, agents)
        ends = setting.local(points)
        if ends.shape != (2, 2) or bool((ends[0] == ends[1]).all()):
            raise ValueError(f"a line to stop at needs two different points, got {points!r}")
        along = ends[1] - ends[0]
        normal = torch.stack([-along[1], along[0]]) / torch.linalg.vector_norm(along)
        heading = torch.stack([self.setting.headings.cos(), self.setting.headings.sin()], dim=-1)
        side, now = heading @ normal, (self.setting.positions - ends[0]) @ normal
        ahead = torch.where(side.abs() >= PARALLEL, side, -now) >= 0
        self.start = ends[0]
        self.normals = torch.where(ahead[:, None], normal, -normal)
        self.gap, self.seconds = at_least("gap", gap), setting.dt

    def violations(self, p: Tensor) -> Tensor:
        """Return how far each agent is beyond the line (R, N, F), metres."""
        beyond = ((self.of(p) - self.start.to(p)) * self.normals.to(p)[:, None]).sum(-1)
        return (beyond + self.gap).relu()


def half_widths(lane: Lane) -> Points:
    """Return half the distance between a lane's bounds at the points of its centre, (L,)."""
    centre = torch.as_tensor(lane.centre)
    left, right = (
        line(torch.as_tensor(bound)).distance(centre) for bound in (lane.left, lane.right)
    )
    return ((left + right) / 2).numpy()


def centre_of(setting: Setting, lanes: Sequence[str]) -> Points:
    """Return the centre line (n, 2) of lanes that follow each other, in the scene's coordinates.

    Raises:
        ValueError: for an unknown lane, or one that does not follow the one before.
    """
    road = setting.map()
    found = [road.lane(id) for id in lanes]
    for one, other in pairwise(found):
        meets = np.linalg.norm(one.centre[-1] - other.centre[0]) <= JOINT
        if other.id not in one.successors and not meets:
            raise ValueError(
                f"lane {other.id} does not follow lane {one.id}, whose successors are "
                f"{', '.join(one.successors) or 'not known'}; name lanes that follow each other"
            )
    return np.concatenate([lane.centre for lane in found])


def _box_gap(outline: Tensor, points: Tensor) -> float:
    """Return the least distance of points to the box around an outline."""
    low, high = outline.amin(0), outline.amax(0)
    gap = torch.maximum(low - points, points - high).relu()
    return float(torch.linalg.vector_norm(gap, dim=-1).min())
