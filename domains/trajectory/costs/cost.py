r"""What every cost has in common: violations in natural units, squared, summed over time."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from domains.trajectory.costs.setting import TOLERANCE, Setting
from guided.energy import Energy


class Cost(Energy):
    r"""An energy of futures p (R, A, F, 2), metres from the setting's origin.

    .. math:: E = \sum_a \sum_f v_{af}(p)^2 \, \tau,

    with violations v in metres, m/s, ..., that are 0 where the cost is satisfied. For what holds
    over time :math:`\tau` is dt, so that E does not depend on the length of a step; at a single
    time it is 1. Rows never see each other.

    Args:
        setting: of all A agents.
        agents: places in the setting of the agents that are constrained.

    Attributes:
        unit: of violations and residuals.
        separable: whether each agent's part of the energy depends on its own future alone.

    Raises:
        ValueError: for no agent, or one that the setting does not have.
    """

    unit: ClassVar[str] = "m"
    separable: bool = True

    def __init__(self, setting: Setting, agents: Sequence[int]) -> None:
        self.setting = setting.only(agents)
        self.agents = tuple(agents)
        self.seconds = 1.0
        self._index = torch.tensor(self.agents)

    @abstractmethod
    def violations(self, p: Tensor) -> Tensor:
        """Return how far each agent is off at each step that counts, (R, N, S), not negative."""

    def penalty(self, violations: Tensor) -> Tensor:
        """Return what a violation costs, elementwise."""
        return violations.square()

    def __call__(self, x0: Tensor, cond: Any = None) -> Tensor:
        """Return the energies (R,)."""
        return self.each(x0).sum(1)

    def each(self, p: Tensor) -> Tensor:
        """Return every constrained agent's part of the energy, (R, N)."""
        return self.penalty(self.violations(p)).sum(2) * self.seconds

    def residual(self, p: Tensor) -> Tensor:
        """Return the worst violation of each constrained agent, (R, N), in natural units."""
        return self.violations(p).amax(-1)

    def of(self, p: Tensor) -> Tensor:
        """Return the futures of the constrained agents, (R, N, F, 2).

        Raises:
            ValueError: for futures of another shape than (R, A, F, 2).
        """
        horizon = self.setting.horizon
        if p.ndim != 4 or p.shape[2:] != (horizon, 2) or p.shape[1] <= max(self.agents):
            raise ValueError(
                f"a cost reads futures of shape (R, A, {horizon}, 2) with A > {max(self.agents)}, "
                f"got {tuple(p.shape)}"
            )
        return p.index_select(1, self._index.to(p.device))


@dataclass(frozen=True)
class Span:
    """A stretch of time; open ends are now and the horizon.

    Args:
        start: seconds after now; None is now.
        stop: seconds after now; None is the last step.
    """

    start: float | None = None
    stop: float | None = None

    def steps(self, setting: Setting, count: int, first: float = 1.0) -> slice:
        """Return which of ``count`` values lie in the span.

        Args:
            setting: with dt and the horizon.
            count: of values, dt apart.
            first: when the first one is, in steps after now.

        Raises:
            ValueError: for an end outside the horizon, or a span without any value.
        """
        start = self.start if not self.start else setting.moment(self.start)
        low, high = (start or 0.0) - TOLERANCE, setting.moment(self.stop) + TOLERANCE
        inside = [i for i in range(count) if low <= (first + i) * setting.dt <= high]
        if not inside:
            raise ValueError(
                f"from {start or 0:g} s to {setting.moment(self.stop):g} s holds no step; the "
                f"steps are {setting.dt:g} s apart, so choose a longer time"
            )
        return slice(inside[0], inside[-1] + 1)


ALWAYS = Span()


def at_least(name: str, value: float, least: float = 0.0) -> float:
    """Return a number after a check of its range.

    Raises:
        ValueError: for one that is too small, or no number.
    """
    if not least <= value < float("inf"):
        raise ValueError(f"the {name} is a number of {least:g} or more, got {value:g}")
    return value
