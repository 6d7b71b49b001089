"""Where somebody should be: at a point, in a disc or polygon at a time, or past a point at some."""

from collections.abc import Sequence

from numpy.typing import ArrayLike
from torch import Tensor

from domains.trajectory.costs.cost import Cost, at_least
from domains.trajectory.costs.motion import length, positions_at, track
from domains.trajectory.costs.quadratic import Quadratic
from domains.trajectory.costs.segments import polygons
from domains.trajectory.costs.setting import Setting


class _AtPoint(Cost):
    """What costs share that look at where agents are at a time."""

    def __init__(
        self, setting: Setting, agents: Sequence[int], point: ArrayLike, time: float | None = None
    ) -> None:
        super().__init__(setting, agents)
        self.point, self.time = setting.local(point), setting.moment(time)

    def gaps(self, p: Tensor) -> Tensor:
        """Return the vectors (R, N, 2) from the point to the agents."""
        return positions_at(self.of(p), self.setting, self.time) - self.point.to(p)


class GoalPoint(_AtPoint, Quadratic):
    r"""The squared distance to a point at a time, :math:`|p_a(t) - g|^2`, in square metres.

    Args:
        setting: of all agents.
        agents: places of those who are sent there.
        point: (2,), or (N, 2) for one each, in the scene's coordinates.
        time: seconds after now, positions between steps being linear; None is the last step.

    Source: Wang et al., Optimizing Diffusion Models for Joint Trajectory Prediction and
        Controllable Generation, 2024, https://arxiv.org/abs/2408.00766.
    Differs: summed over agents and coordinates, not averaged, so that no agent's goal weakens
        when others get one.

    Raises:
        ValueError: for a time outside the horizon.
    """

    def violations(self, p: Tensor) -> Tensor:
        """Return the distances (R, N, 1), metres."""
        return length(self.gaps(p))[..., None]

    def misfit(self, p: Tensor) -> Tensor:
        """Return the gaps (R, 2 N), metres."""
        return self.gaps(p).flatten(1)


class GoalDisc(_AtPoint):
    r"""The squared way to a disc at a time, :math:`\max(0, |p_a(t) - g| - r)^2`.

    Args:
        setting: of all agents.
        agents: places of those who are sent there.
        point: (2,), its centre, in the scene's coordinates.
        radius: metres; 0 is :class:`GoalPoint`.
        time: seconds after now; None is the last step.

    Raises:
        ValueError: for a negative radius or a time outside the horizon.
    """

    def __init__(
        self,
        setting: Setting,
        agents: Sequence[int],
        point: ArrayLike,
        radius: float,
        time: float | None = None,
    ) -> None:
        super().__init__(setting, agents, point, time)
        self.radius = at_least("radius", radius)

    def violations(self, p: Tensor) -> Tensor:
        """Return the ways to the disc (R, N, 1), metres."""
        return (length(self.gaps(p))[..., None] - self.radius).relu()


class GoalPolygon(Cost):
    """The squared distance to a polygon at a time, 0 inside.

    Args:
        setting: of all agents.
        agents: places of those who are sent there.
        corners: (n, 2), in the scene's coordinates.
        time: seconds after now; None is the last step.

    Raises:
        ValueError: for less than three corners or a time outside the horizon.
    """

    def __init__(
        self, setting: Setting, agents: Sequence[int], corners: ArrayLike, time: float | None = None
    ) -> None:
        super().__init__(setting, agents)
        self.area, self.time = polygons([setting.local(corners)]), setting.moment(time)

    def violations(self, p: Tensor) -> Tensor:
        """Return the distances (R, N, 1), metres."""
        return self.area.outside(positions_at(self.of(p), self.setting, self.time)[:, :, None])


class Waypoint(Cost):
    """The squared distance of a point from the whole way, whenever it is passed.

    Args:
        setting: of all agents.
        agents: places of those who pass it.
        point: (2,), in the scene's coordinates.
    """

    def __init__(self, setting: Setting, agents: Sequence[int], point: ArrayLike) -> None:
        super().__init__(setting, agents)
        self.point = setting.local(point)

    def violations(self, p: Tensor) -> Tensor:
        """Return the least distances (R, N, 1), metres, the way being linear between steps."""
        way = track(self.of(p), self.setting)
        step, gap = way.diff(dim=2), self.point.to(p) - way[:, :, :-1]
        share = (gap * step).sum(-1) / step.square().sum(-1).clamp(min=1e-12)
        return length(gap - share.clamp(0, 1)[..., None] * step).amin(-1, keepdim=True)
