"""How far futures are from what was asked for, in natural units, and what to draw of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from domains.trajectory.costs.cost import Cost
from domains.trajectory.costs.language import Constraint
from domains.trajectory.costs.setting import Setting
from guided.energy import Energy, WeightedSum

MET = 0.1  # m, m/s, ...; a residual up to this counts as met


@dataclass(frozen=True)
class Residual:
    """How far one agent is from one constraint, over R rows.

    Args:
        cost: its name.
        agent: the id.
        unit: of the numbers.
        mean: over the rows, of the worst violation in time.
        worst: of all rows.
        met: share of the rows that are within :data:`MET` of satisfying it.
    """

    cost: str
    agent: str
    unit: str
    mean: float
    worst: float
    met: float


def residuals(energy: Energy, p: Tensor) -> list[Residual]:
    """Return the residuals of futures (R, A, F, 2): constraints that contradict each other show.

    Args:
        energy: what :func:`~domains.trajectory.costs.language.compile` returned.
        p: metres from the setting's origin.

    Raises:
        TypeError: for an energy that is no weighted sum of costs.
    """
    if not isinstance(energy, WeightedSum):
        raise TypeError(
            f"residuals are of a sum of costs, got {type(energy).__name__}; compile one"
        )
    found = []
    for name, cost in energy.terms.items():
        if not isinstance(cost, Cost):
            raise TypeError(f"residuals are of costs, got {name!r}, a {type(cost).__name__}")
        for id, off in zip(cost.setting.ids, cost.residual(p.detach()).unbind(1), strict=True):
            met = (off <= MET).double().mean()
            row = Residual(name, id, cost.unit, float(off.mean()), float(off.max()), float(met))
            found.append(row)
    return found


def table(rows: Sequence[Residual]) -> str:
    """Return residuals as text, a line each."""
    wide = max([len(row.cost) for row in rows] + [10])
    names = max([len(row.agent) for row in rows] + [5])
    head = f"{'constraint':{wide}}  {'agent':{names}}      mean     worst  unit    met"
    lines = [
        f"{row.cost:{wide}}  {row.agent:{names}}  {row.mean:8.2f}  {row.worst:8.2f}  "
        f"{row.unit:5}  {row.met:4.0%}"
        for row in rows
    ]
    return "\n".join([head, *lines])


def drawn_goals(
    constraints: Sequence[Constraint], setting: Setting
) -> tuple[tuple[str, NDArray[np.float64], int | None], ...]:
    """Return what a picture shows of constraints, as the goals of a ``Forecast``.

    Returns:
        Triples of the demand's text, a point (2,) in the scene's coordinates, and the agent's
        index into the scene.

    Raises:
        ValueError: for an agent who is not in the setting.
    """
    return tuple(
        (str(constraint.demand), np.asarray(point, dtype=float), int(setting.agents[agent]))
        for constraint in constraints
        for agent in constraint.agents(setting)
        for point in constraint.demand.drawn(setting, agent)
    )
