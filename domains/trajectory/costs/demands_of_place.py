"""What a constraint may ask for of places: distances, lanes and lines."""

from collections.abc import Sequence
from dataclasses import dataclass

from domains.trajectory.costs import chance, road, spacing
from domains.trajectory.costs.cost import Cost
from domains.trajectory.costs.demands import LASTING, Demand, Lasting
from domains.trajectory.costs.setting import Setting
from domains.trajectory.costs.words import Point


@dataclass(frozen=True)
class Apart(Lasting):
    """Keep a least distance: all pairs of the agents, or one from everybody."""

    form = "apart {gap:length}" + LASTING
    gap: float

    def cost(self, setting: Setting, agents: Sequence[int]) -> Cost:
        """Return the squared hinge of every pair."""
        return spacing.Apart(setting, agents, self.gap, self.span)


@dataclass(frozen=True)
class Risk(Lasting):
    """Bound the probability of contact at every step; who is where gets less certain with time."""

    form = "risk <= {limit:number} within {radius:length}" + LASTING
    limit: float
    radius: float

    def cost(self, setting: Setting, agents: Sequence[int]) -> Cost:
        """Return the squared hinge of every pair, with a gap that grows."""
        return chance.Risk(setting, agents, self.limit, self.radius, self.span)


@dataclass(frozen=True)
class Near(Lasting):
    """Be drawn to a point or an agent."""

    form = "near {target:target}" + LASTING
    target: Point | str

    def cost(self, setting: Setting, agents: Sequence[int]) -> Cost:
        """Return the attraction."""
        return spacing.Attraction(setting, agents, _place(setting, self.target), self.span)


@dataclass(frozen=True)
class Away(Lasting):
    """Keep a distance from a point or an agent."""

    form = "away from {target:target} by {gap:length}" + LASTING
    target: Point | str
    gap: float

    def cost(self, setting: Setting, agents: Sequence[int]) -> Cost:
        """Return the squared hinge."""
        place = _place(setting, self.target)
        return spacing.Repulsion(setting, agents, place, self.gap, self.span)


@dataclass(frozen=True)
class Behind(Lasting):
    """Keep a gap behind an agent."""

    form = "behind {leader:agent} by {gap:length}" + LASTING
    leader: str
    gap: float

    def cost(self, setting: Setting, agents: Sequence[int]) -> Cost:
        """Return the squared hinge."""
        return spacing.Behind(setting, agents, setting.place(self.leader), self.gap, self.span)


@dataclass(frozen=True)
class OnRoad(Lasting):
    """Stay on the drivable area."""

    form = "on road" + LASTING

    def cost(self, setting: Setting, agents: Sequence[int]) -> Cost:
        """Return the squared distance to it."""
        return road.OnRoad(setting, agents, self.span)


@dataclass(frozen=True)
class Stay(Lasting):
    """Stay in a polygon."""

    form = "stay inside {corners:points}" + LASTING
    corners: tuple[Point, ...]

    def cost(self, setting: Setting, agents: Sequence[int]) -> Cost:
        """Return the squared distance to it."""
        return road.Corridor(setting, agents, self.corners, self.span)


@dataclass(frozen=True)
class InLane(Lasting):
    """Stay in a lane."""

    form = "in lane {lane:name}" + LASTING
    lane: str

    def cost(self, setting: Setting, agents: Sequence[int]) -> Cost:
        """Return the squared distance beside it."""
        return road.InLane(setting, agents, self.lane, self.span)


@dataclass(frozen=True)
class FollowLanes(Lasting):
    """Follow the centres of lanes."""

    form = "follow lane {lanes:lanes}" + LASTING
    lanes: tuple[str, ...]

    def cost(self, setting: Setting, agents: Sequence[int]) -> Cost:
        """Return the squared distance to the line of their centres."""
        line = road.centre_of(setting, self.lanes)
        return road.Route(setting, agents, line, self.span)


@dataclass(frozen=True)
class FollowLine(Lasting):
    """Follow a line."""

    form = "follow {line:points}" + LASTING
    line: tuple[Point, ...]

    def cost(self, setting: Setting, agents: Sequence[int]) -> Cost:
        """Return the squared distance to it."""
        return road.Route(setting, agents, self.line, self.span)


@dataclass(frozen=True)
class StopBefore(Demand):
    """Do not cross a line."""

    form = "stop before {line:ends} [by {gap:length}]"
    line: tuple[Point, ...]
    gap: float | None = None

    def cost(self, setting: Setting, agents: Sequence[int]) -> Cost:
        """Return the squared hinge of the way beyond it."""
        return road.StopBefore(setting, agents, self.line, self.gap or 0.0)


def _place(setting: Setting, target: Point | str) -> int | Point:
    return setting.place(target) if isinstance(target, str) else target
