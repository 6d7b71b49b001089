"""Collision risk along a plan, by the density of the states that its agent may reach."""

from domains.trajectory.risk.cost import RiskCost
from domains.trajectory.risk.discs import Discs
from domains.trajectory.risk.dynamics import PointMass, Tracker, Unicycle, bicycle
from domains.trajectory.risk.filter import Kept, keep_safe
from domains.trajectory.risk.path import Path, Waypoint
from domains.trajectory.risk.reach import ReachDensity, Reached, Risk

__all__ = [
    "Discs",
    "Kept",
    "Path",
    "PointMass",
    "ReachDensity",
    "Reached",
    "Risk",
    "RiskCost",
    "Tracker",
    "Unicycle",
    "Waypoint",
    "bicycle",
    "keep_safe",
]
