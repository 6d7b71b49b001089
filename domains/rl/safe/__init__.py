"""Safe offline reinforcement learning: FISOR, shields, and a robot whose feasible set is known."""

from domains.rl.safe import velocity
from domains.rl.safe.judgement import (
    calibration_by_margin,
    conformal_threshold,
    false_safe,
    infeasible_iou,
)
from domains.rl.safe.point_robot import PointRobot, margin, observe, register, step_states
from domains.rl.safe.reachable import FeasibleValue, Grid, feasible_value, speed_levels
from domains.rl.safe.risk import cvar, normalised_cost, time_to_violation, violation_probability
from domains.rl.safe.scores import exact_danger, learned_danger, learned_value, shielded
from domains.rl.safe.shield import Shield, ShieldEvent, ShieldStop
from domains.rl.safe.train import SafeRun, SafeTraining
from domains.rl.safe.velocity import SafeVelocity

__all__ = [
    "FeasibleValue",
    "Grid",
    "PointRobot",
    "SafeRun",
    "SafeTraining",
    "SafeVelocity",
    "Shield",
    "ShieldEvent",
    "ShieldStop",
    "calibration_by_margin",
    "conformal_threshold",
    "cvar",
    "exact_danger",
    "false_safe",
    "feasible_value",
    "infeasible_iou",
    "learned_danger",
    "learned_value",
    "margin",
    "normalised_cost",
    "observe",
    "register",
    "shielded",
    "speed_levels",
    "step_states",
    "time_to_violation",
    "violation_probability",
]

register()
velocity.register()
