"""Who keeps away from whom, or comes near."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from domains.trajectory.costs.cost import ALWAYS, Cost, Span, at_least
from domains.trajectory.costs.motion import length, velocities
from domains.trajectory.costs.setting import Setting

CREEP = 0.1  # m/s; an agent slower than this is taken to point where it points now


class Apart(Cost):
    r"""A least distance of every pair, :math:`\sum_{a<b} \max(0, d - |p_a - p_b|)^2`.

    Distances are of centres, at the steps. Two agents at the very same point have no direction to
    part in, so their gradient is 0.

    Args:
        setting: of all agents.
        agents: places of those who keep apart; one alone keeps away from all others.
        gap: d, metres; 0 is no constraint.
        span: when.

    Source: the repeller of Jiang et al., MotionDiffuser: Controllable Multi-Agent Motion Prediction
        using Diffusion, 2023, https://arxiv.org/abs/2306.03083.
    Differs: the hinge is squared and in metres, so that its gradient is continuous, and it is
        summed over pairs, not averaged.

    Raises:
        ValueError: where there is no pair, for a negative gap, or a span outside the horizon.
    """

    separable = False

    def __init__(
        self, setting: Setting, agents: Sequence[int], gap: float, span: Span = ALWAYS
    ) -> None:
        super().__init__(setting, agents)
        others = range(len(setting.ids)) if len(agents) == 1 else agents
        pairs = sorted({(min(a, b), max(a, b)) for a in agents for b in others if a != b})
        if not pairs:
            raise ValueError("keeping apart needs two agents, got one alone; drop the constraint")
        self.gap, self.pairs = at_least("gap", gap), torch.tensor(pairs)
        self.steps, self.seconds = span.steps(setting, setting.horizon), setting.dt

    def violations(self, p: Tensor) -> Tensor:
        """Return how much each pair is too near (R, pairs, S), metres."""
        self.of(p[:1])
        first, second = self.pairs.to(p.device).unbind(1)
        p = p[:, :, self.steps]
        found = length(p.index_select(1, first) - p.index_select(1, second))
        return (self.distance(p) - found).relu()

    def distance(self, p: Tensor) -> float | Tensor:
        """Return the distance wanted, one or one for each step (S,)."""
        return self.gap

    def residual(self, p: Tensor) -> Tensor:
        """Return for each constrained agent how much its nearest is too near, (R, N), metres."""
        worst = self.violations(p).amax(-1)
        member = (self.pairs[None] == torch.tensor(self.agents)[:, None, None]).any(-1)
        return torch.where(member.to(p.device), worst[:, None], 0.0).amax(-1)


class Toward(Cost):
    """What costs share that look at a point, or at another agent.

    Args:
        setting: of all agents.
        agents: places of those who are constrained.
        target: a point (2,) in the scene's coordinates, or another agent's place.
        span: when.

    Raises:
        ValueError: for an agent that is its own target, or a span outside the horizon.
    """

    def __init__(
        self, setting: Setting, agents: Sequence[int], target: int | ArrayLike, span: Span = ALWAYS
    ) -> None:
        super().__init__(setting, agents)
        self.target = int(target) if isinstance(target, int | np.integer) else None
        if self.target is None:
            self.point = setting.local(target)
        else:
            self.leader = setting.only([self.target])
        self.separable = self.target is None
        if self.target in agents:
            raise ValueError(f"agent {self.leader.ids[0]} is its own target; name another agent")
        self.steps, self.seconds = span.steps(setting, setting.horizon), setting.dt

    def gaps(self, p: Tensor) -> Tensor:
        """Return the vectors (R, N, S, 2) from the agents to the target."""
        own = self.of(p)
        target = self.point.to(p) if self.target is None else p.narrow(1, self.target, 1)
        return (target - own)[:, :, self.steps]


class Attraction(Toward):
    r"""A pull towards a point or an agent, :math:`\sum_f (\sqrt{1 + d_f^2} - 1) \, dt`.

    Its strength does not grow with the distance d in metres, so that a far target bends a way but
    does not tear it off; within a metre it is quadratic.

    Source: the attractor of Jiang et al., MotionDiffuser: Controllable Multi-Agent Motion
        Prediction using Diffusion, 2023, https://arxiv.org/abs/2306.03083.
    Differs: smooth at the target, the same in every direction, and summed, not averaged.
    """

    def violations(self, p: Tensor) -> Tensor:
        """Return the distances (R, N, S), metres."""
        return length(self.gaps(p))

    def penalty(self, violations: Tensor) -> Tensor:
        """Return the pull's potential, elementwise."""
        return (1 + violations.square()).sqrt() - 1


class Repulsion(Toward):
    r"""A distance kept from a point or an agent, :math:`\sum_f \max(0, r - d_f)^2 \, dt`.

    Args:
        setting: of all agents.
        agents: places of those who keep away.
        target: a point (2,) in the scene's coordinates, or another agent's place.
        gap: r, metres.
        span: when.

    Raises:
        ValueError: for a negative gap, an agent that is its own target, or a span outside the
            horizon.
    """

    def __init__(
        self,
        setting: Setting,
        agents: Sequence[int],
        target: int | ArrayLike,
        gap: float,
        span: Span = ALWAYS,
    ) -> None:
        super().__init__(setting, agents, target, span)
        self.gap = at_least("gap", gap)

    def violations(self, p: Tensor) -> Tensor:
        """Return what is missing from the distance (R, N, S), metres."""
        return (self.gap - length(self.gaps(p))).relu()


class Behind(Toward):
    r"""A gap kept behind an agent q, :math:`\sum_f \max(0, r - (q_f - p_f) \cdot u_f)^2 \, dt`.

    u is the direction in which q moves, or points now where it hardly moves.

    Args:
        setting: of all agents.
        agents: places of those who stay behind.
        target: the place of the agent in front.
        gap: r, metres between centres.
        span: when.

    Raises:
        ValueError: for a negative gap, an agent behind itself, or a span outside the horizon.
    """

    def __init__(
        self, setting: Setting, agents: Sequence[int], target: int, gap: float, span: Span = ALWAYS
    ) -> None:
        super().__init__(setting, agents, target, span)
        self.gap, self.front = at_least("gap", gap), int(target)

    def violations(self, p: Tensor) -> Tensor:
        """Return what is missing from the gap (R, N, S), metres."""
        heading = self.leader.headings.to(p)
        creep = CREEP * torch.stack([heading.cos(), heading.sin()], dim=-1)
        moving = velocities(p.narrow(1, self.front, 1), self.leader)[:, :, self.steps] + creep
        ahead = moving / length(moving)[..., None]
        return (self.gap - (self.gaps(p) * ahead).sum(-1)).relu()
