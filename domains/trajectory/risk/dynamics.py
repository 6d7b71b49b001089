r"""How an agent that tracks a plan moves, whatever the error of its first state.

All follow the plan by the same law: with p the position, v the velocity and the plan's
:math:`p^*, v^*, a^*`, they want the acceleration

.. math:: u = g - k_d v, \qquad g = a^* + k_p (p^* - p) + k_d v^*.

States have four numbers; velocities and divergences are torch functions of (..., 4), with the
waypoints of :class:`domains.trajectory.risk.path.Path` broadcast against the axes before the last.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from domains.trajectory.risk.path import Waypoint


class Tracker(Protocol):
    """Closed-loop dynamics of states (..., 4) whose first two numbers are the position."""

    def velocity(self, state: Tensor, at: Waypoint) -> Tensor:
        """Return the time derivative of the state, (..., 4)."""
        ...

    def divergence(self, state: Tensor, at: Waypoint) -> Tensor:
        """Return the trace of its Jacobian in the state, (...)."""
        ...

    def motion(self, state: Tensor) -> Tensor:
        """Return the velocity of the position, (..., 2)."""
        ...


@dataclass(frozen=True)
class PointMass:
    r"""States (x, y, vx, vy) with :math:`\dot p = v, \dot v = u`: linear, so a Gaussian stays one.

    Args:
        position_gain: :math:`k_p`, 1/s^2; 0 does not correct positions.
        velocity_gain: :math:`k_d`, 1/s; 0 does not correct velocities.

    Raises:
        ValueError: for a gain below 0.
    """

    position_gain: float = 1.0
    velocity_gain: float = 2.0

    def __post_init__(self) -> None:
        _require_gains(self.position_gain, self.velocity_gain)

    def velocity(self, state: Tensor, at: Waypoint) -> Tensor:
        """Return (vx, vy, u), shape (..., 4)."""
        wanted = _pull(state, at, self.position_gain, self.velocity_gain)
        motion = self.motion(state)
        return torch.cat([motion, wanted - self.velocity_gain * motion], -1)

    def divergence(self, state: Tensor, at: Waypoint) -> Tensor:
        """Return -2 k_d, shape (...)."""
        return torch.full_like(state[..., 0], -2 * self.velocity_gain)

    def motion(self, state: Tensor) -> Tensor:
        """Return (vx, vy), shape (..., 2)."""
        return state[..., 2:]


@dataclass(frozen=True)
class Unicycle:
    r"""States (x, y, heading, speed), steered by the wanted acceleration along and across.

    With the unit vectors e along and n across the heading, and s the speed,

    .. math:: \dot p = s e, \qquad \dot s = u \cdot e, \qquad
              \dot\theta = s\, \kappa, \qquad
              \kappa = \kappa_{\max} \tanh\frac{u \cdot n}{\kappa_{\max} (s^2 + \epsilon^2)}.

    Args:
        position_gain: :math:`k_p`, 1/s^2.
        velocity_gain: :math:`k_d`, 1/s.
        max_curvature: the tightest turn, 1/m; infinite does not limit it.
        slow: :math:`\epsilon`, metres a second below which steering fades.

    Raises:
        ValueError: for a gain below 0, or a limit that is not positive.
    """

    position_gain: float = 1.0
    velocity_gain: float = 2.0
    max_curvature: float = math.inf
    slow: float = 0.5

    def __post_init__(self) -> None:
        _require_gains(self.position_gain, self.velocity_gain)
        if not (self.max_curvature > 0 and self.slow > 0):
            raise ValueError(
                f"a unicycle needs max_curvature and slow above 0, got {self.max_curvature} and "
                f"{self.slow}"
            )

    def velocity(self, state: Tensor, at: Waypoint) -> Tensor:
        """Return the time derivatives of position, heading and speed, shape (..., 4)."""
        speed, along, across = self._frame(state)
        motion = speed[..., None] * along
        wanted = _pull(state, at, self.position_gain, self.velocity_gain)
        wanted = wanted - self.velocity_gain * motion
        turn = speed * self._limited(self._curvature(speed, (wanted * across).sum(-1)))
        changes = torch.stack([turn, (wanted * along).sum(-1)], -1)
        return torch.cat([motion, changes], -1)

    def divergence(self, state: Tensor, at: Waypoint) -> Tensor:
        r"""Return :math:`-k_d - \frac{s\, g \cdot e}{s^2 + \epsilon^2} \tanh'`, shape (...)."""
        speed, along, across = self._frame(state)
        pull = _pull(state, at, self.position_gain, self.velocity_gain)
        curvature = self._curvature(speed, (pull * across).sum(-1))
        share = 1 - (self._limited(curvature) / self.max_curvature).square()
        return -self.velocity_gain - share * self._curvature(speed, (pull * along).sum(-1)) * speed

    def motion(self, state: Tensor) -> Tensor:
        """Return the speed along the heading, shape (..., 2)."""
        speed, along, _ = self._frame(state)
        return speed[..., None] * along

    def _frame(self, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        heading, speed = state[..., 2], state[..., 3]
        along = torch.stack([heading.cos(), heading.sin()], -1)
        return speed, along, torch.stack([-along[..., 1], along[..., 0]], -1)

    def _curvature(self, speed: Tensor, acceleration: Tensor) -> Tensor:
        return acceleration / (speed.square() + self.slow**2)

    def _limited(self, curvature: Tensor) -> Tensor:
        if math.isinf(self.max_curvature):
            return curvature
        return self.max_curvature * (curvature / self.max_curvature).tanh()


def bicycle(
    wheelbase: float = 2.8,
    steering: float = 0.6,
    position_gain: float = 1.0,
    velocity_gain: float = 2.0,
) -> Unicycle:
    r"""Return a kinematic bicycle, referred to its rear axle: curvature :math:`\tan(\delta) / L`.

    It is a :class:`Unicycle` whose turns are limited by the steering.

    Args:
        wheelbase: L, metres.
        steering: the greatest angle of the front wheel, radians, below a right angle.
        position_gain: 1/s^2.
        velocity_gain: 1/s.

    Raises:
        ValueError: for a wheelbase that is not positive, or an angle outside (0, pi / 2).
    """
    if not (wheelbase > 0 and 0 < steering < math.pi / 2):
        raise ValueError(
            f"a bicycle needs a wheelbase above 0 m and steering in (0, pi / 2), got {wheelbase} "
            f"and {steering}"
        )
    return Unicycle(position_gain, velocity_gain, math.tan(steering) / wheelbase)


def _pull(state: Tensor, at: Waypoint, position_gain: float, velocity_gain: float) -> Tensor:
    """Return g, the part of the wanted acceleration that the velocity does not enter."""
    error = at.position - state[..., :2]
    return at.acceleration + position_gain * error + velocity_gain * at.velocity


def _require_gains(position_gain: float, velocity_gain: float) -> None:
    if not (position_gain >= 0 and velocity_gain >= 0):
        raise ValueError(
            f"the gains of a tracker are at least 0, got {position_gain} and {velocity_gain}"
        )
