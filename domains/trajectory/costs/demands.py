"""What a constraint may ask for, and the cost that it becomes in a setting."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import cos, sin

import numpy as np
from numpy.typing import NDArray

from domains.trajectory.costs import goal, speed
from domains.trajectory.costs.cost import Cost, Span
from domains.trajectory.costs.forms import Form
from domains.trajectory.costs.setting import Setting
from domains.trajectory.costs.speed import Sign
from domains.trajectory.costs.words import Point


@dataclass(frozen=True)
class Demand(Form):
    """What is asked of some agents; its ``form`` says how it is written."""

    @abstractmethod
    def cost(self, setting: Setting, agents: Sequence[int]) -> Cost:
        """Return the cost in a setting, for the agents at some places of it."""

    def drawn(self, setting: Setting, agent: int) -> tuple[NDArray[np.float64] | Point, ...]:
        """Return the points (2,) to draw for an agent, in the scene's coordinates; often none."""
        return ()


@dataclass(frozen=True)
class Lasting(Demand):
    """A demand that may hold for a part of the time alone.

    Args:
        start: seconds after now; None is now.
        stop: seconds after now; None is the last step.
    """

    start: float | None = field(default=None, kw_only=True)
    stop: float | None = field(default=None, kw_only=True)

    @property
    def span(self) -> Span:
        """Return when it holds."""
        return Span(self.start, self.stop)


LASTING = " [from {start:time}] [to {stop:time}]"


@dataclass(frozen=True)
class Goal(Demand):
    """Be at a point at a time; without one, at the last step."""

    form = "goal {point:point} [at {time:time}]"
    point: Point
    time: float | None = None

    def cost(self, setting: Setting, agents: Sequence[int]) -> Cost:
        """Return the squared distance."""
        return goal.GoalPoint(setting, agents, self.point, self.time)

    def drawn(self, setting: Setting, agent: int) -> tuple[Point, ...]:
        """Return the point."""
        return (self.point,)


@dataclass(frozen=True)
class GoalAhead(Demand):
    """Be at a point that is given as the agent sees it now, along and beside its heading."""

    form = "goal {ahead:ahead} [, {left:left}] [at {time:time}]"
    ahead: float
    left: float | None = None
    time: float | None = None

    def cost(self, setting: Setting, agents: Sequence[int]) -> Cost:
        """Return the squared distances of the agents to a point of their own."""
        points = np.stack([self.drawn(setting, agent)[0] for agent in agents])
        return goal.GoalPoint(setting, agents, points, self.time)

    def drawn(self, setting: Setting, agent: int) -> tuple[NDArray[np.float64], ...]:
        """Return the point."""
        angle = float(setting.headings[agent])
        along, beside = np.array([cos(angle), sin(angle)]), np.array([-sin(angle), cos(angle)])
        now = setting.positions[agent].numpy() + setting.origin
        return (now + self.ahead * along + (self.left or 0.0) * beside,)


@dataclass(frozen=True)
class Within(Demand):
    """Be in a disc at a time."""

    form = "within {radius:length} of {point:point} [at {time:time}]"
    radius: float
    point: Point
    time: float | None = None

    def cost(self, setting: Setting, agents: Sequence[int]) -> Cost:
        """Return the squared way to the disc."""
        return goal.GoalDisc(setting, agents, self.point, self.radius, self.time)

    def drawn(self, setting: Setting, agent: int) -> tuple[Point, ...]:
        """Return the centre."""
        return (self.point,)


@dataclass(frozen=True)
class Inside(Demand):
    """Be in a polygon at a time."""

    form = "inside {corners:points} [at {time:time}]"
    corners: tuple[Point, ...]
    time: float | None = None

    def cost(self, setting: Setting, agents: Sequence[int]) -> Cost:
        """Return the squared way to the polygon."""
        return goal.GoalPolygon(setting, agents, self.corners, self.time)

    def drawn(self, setting: Setting, agent: int) -> tuple[NDArray[np.float64], ...]:
        """Return the mean of the corners."""
        return (np.mean(self.corners, axis=0),)


@dataclass(frozen=True)
class Via(Demand):
    """Pass a point, whenever."""

    form = "via {point:point}"
    point: Point

    def cost(self, setting: Setting, agents: Sequence[int]) -> Cost:
        """Return the squared distance of the way from the point."""
        return goal.Waypoint(setting, agents, self.point)

    def drawn(self, setting: Setting, agent: int) -> tuple[Point, ...]:
        """Return the point."""
        return (self.point,)


@dataclass(frozen=True)
class Speed(Lasting):
    """Keep a speed, or stay on one side of it."""

    form = "speed {sign:sign} {speed:speed}" + LASTING
    sign: Sign
    speed: float

    def cost(self, setting: Setting, agents: Sequence[int]) -> Cost:
        """Return the squared difference, or its hinge."""
        return speed.Speed(setting, agents, self.sign, self.speed, self.span)


@dataclass(frozen=True)
class Acceleration(Lasting):
    """Bound the acceleration."""

    form = "acceleration <= {most:acceleration}" + LASTING
    most: float

    def cost(self, setting: Setting, agents: Sequence[int]) -> Cost:
        """Return the squared hinge."""
        return speed.Acceleration(setting, agents, self.most, self.span)


@dataclass(frozen=True)
class Jerk(Lasting):
    """Bound the jerk."""

    form = "jerk <= {most:jerk}" + LASTING
    most: float

    def cost(self, setting: Setting, agents: Sequence[int]) -> Cost:
        """Return the squared hinge."""
        return speed.Jerk(setting, agents, self.most, self.span)


@dataclass(frozen=True)
class Brake(Demand):
    """Brake evenly from now on."""

    form = "brake by {rate:acceleration}"
    rate: float

    def cost(self, setting: Setting, agents: Sequence[int]) -> Cost:
        """Return the squared difference from the profile of speeds."""
        return speed.Braking(setting, agents, self.rate)
