"""How fast, how hard and how smoothly agents move."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from domains.trajectory.costs.cost import ALWAYS, Cost, Span, at_least
from domains.trajectory.costs.motion import accelerations, jerks, length, speeds
from domains.trajectory.costs.setting import Setting

Sign = Literal["<=", ">=", "="]


class Speed(Cost):
    r"""A speed that is kept, or a bound of it: :math:`(s - v)^2`, or its hinge.

    Args:
        setting: of all agents.
        agents: places of those who are constrained.
        sign: "=" keeps the speed, "<=" and ">=" bound it.
        speed: metres a second.
        span: when; steps count whose middle lies in it.

    Raises:
        ValueError: for an unknown sign, a negative speed, or a span outside the horizon.
    """

    unit = "m/s"

    def __init__(
        self,
        setting: Setting,
        agents: Sequence[int],
        sign: Sign,
        speed: float,
        span: Span = ALWAYS,
    ) -> None:
        super().__init__(setting, agents)
        if sign not in get_args(Sign):
            raise ValueError(f"a speed is bound by one of {get_args(Sign)}, got {sign!r}")
        self.sign, self.speed = sign, at_least("speed", speed)
        self.steps, self.seconds = span.steps(setting, setting.horizon, 0.5), setting.dt

    def violations(self, p: Tensor) -> Tensor:
        """Return the differences (R, N, S), m/s."""
        above = speeds(self.of(p), self.setting)[..., self.steps] - self.speed
        if self.sign == "=":
            return above.abs()
        return above.relu() if self.sign == "<=" else (-above).relu()


class Acceleration(Cost):
    r"""A bound of the acceleration in any direction, :math:`\max(0, |a| - a_{max})^2`.

    Args:
        setting: of all agents.
        agents: places of those who are constrained.
        most: m/s^2.
        span: when.

    Raises:
        ValueError: for a negative bound or a span outside the horizon.
    """

    unit = "m/s^2"

    def __init__(
        self, setting: Setting, agents: Sequence[int], most: float, span: Span = ALWAYS
    ) -> None:
        super().__init__(setting, agents)
        self.most = at_least("acceleration", most)
        self.steps, self.seconds = span.steps(setting, setting.horizon, 0.0), setting.dt

    def violations(self, p: Tensor) -> Tensor:
        """Return what lies above the bound (R, N, S), m/s^2."""
        found = length(accelerations(self.of(p), self.setting)[:, :, self.steps])
        return (found - self.most).relu()


class Jerk(Cost):
    r"""A bound of the change of acceleration, :math:`\max(0, |j| - j_{max})^2`.

    Args:
        setting: of all agents.
        agents: places of those who are constrained.
        most: m/s^3.
        span: when.

    Raises:
        ValueError: for a negative bound, a span outside the horizon, or futures of one step.
    """

    unit = "m/s^3"

    def __init__(
        self, setting: Setting, agents: Sequence[int], most: float, span: Span = ALWAYS
    ) -> None:
        super().__init__(setting, agents)
        self.most = at_least("jerk", most)
        self.steps, self.seconds = span.steps(setting, setting.horizon - 1, 0.5), setting.dt

    def violations(self, p: Tensor) -> Tensor:
        """Return what lies above the bound (R, N, S), m/s^3."""
        found = length(jerks(self.of(p), self.setting)[:, :, self.steps])
        return (found - self.most).relu()


class Braking(Cost):
    r"""An even braking from the speed now, :math:`v(t) = \max(0, v_0 - b t)`, kept step by step.

    Args:
        setting: of all agents.
        agents: places of those who brake.
        rate: b, m/s^2; 0 keeps the speed.

    Raises:
        ValueError: for a negative rate, or an agent whose speed now is not known.
    """

    unit = "m/s"

    def __init__(self, setting: Setting, agents: Sequence[int], rate: float) -> None:
        super().__init__(setting, agents)
        now = torch.linalg.vector_norm(self.setting.velocities, dim=-1)
        for id, speed in zip(self.setting.ids, now, strict=True):
            if speed.isnan():
                raise ValueError(
                    f"agent {id} was seen once, so its speed is not known; ask for a speed instead"
                )
        # The mean speed of a step, from the way at its ends, is exact where one stops within it.
        rate = at_least("rate of braking", rate)
        ends = torch.arange(setting.horizon + 1) * setting.dt
        still = now / rate if rate else torch.full_like(now, torch.inf)
        driven = torch.minimum(ends, still[:, None])
        self.profile = (now[:, None] * driven - rate * driven**2 / 2).diff() / setting.dt
        self.seconds = setting.dt

    def violations(self, p: Tensor) -> Tensor:
        """Return the differences (R, N, F) from the profile, m/s."""
        return (speeds(self.of(p), self.setting) - self.profile.to(p)).abs()
