"""Costs of joint futures: what a plan asks for, as energies of positions in metres.

A cost reads futures (R, A, F, 2) about the origin of its :class:`Setting`, in which it is built;
:func:`parse` reads constraints from text and :func:`compile` makes one energy of them.
"""

from domains.trajectory.costs.chance import Risk
from domains.trajectory.costs.cost import ALWAYS, Cost, Span
from domains.trajectory.costs.edits import edited, parse_edit
from domains.trajectory.costs.goal import GoalDisc, GoalPoint, GoalPolygon, Waypoint
from domains.trajectory.costs.language import Constraint, compile, parse
from domains.trajectory.costs.plan_file import Plan, plan_of, read_plan
from domains.trajectory.costs.report import Residual, drawn_goals, residuals, table
from domains.trajectory.costs.road import (
    Corridor,
    InLane,
    OnRoad,
    Route,
    StopBefore,
    centre_of,
)
from domains.trajectory.costs.setting import Setting
from domains.trajectory.costs.spacing import Apart, Attraction, Behind, Repulsion
from domains.trajectory.costs.speed import Acceleration, Braking, Jerk, Speed

__all__ = [
    "ALWAYS",
    "Acceleration",
    "Apart",
    "Attraction",
    "Behind",
    "Braking",
    "Constraint",
    "Corridor",
    "Cost",
    "GoalDisc",
    "GoalPoint",
    "GoalPolygon",
    "InLane",
    "Jerk",
    "OnRoad",
    "Plan",
    "Repulsion",
    "Residual",
    "Risk",
    "Route",
    "Setting",
    "Span",
    "Speed",
    "StopBefore",
    "Waypoint",
    "centre_of",
    "compile",
    "drawn_goals",
    "edited",
    "parse",
    "parse_edit",
    "plan_of",
    "read_plan",
    "residuals",
    "table",
]
