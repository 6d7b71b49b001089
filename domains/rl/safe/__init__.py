"""Safe offline reinforcement learning: a point robot whose feasible set is known."""

from domains.rl.safe.point_robot import PointRobot, margin, observe, register, step_states
from domains.rl.safe.reachable import FeasibleValue, Grid, feasible_value, speed_levels

__all__ = [
    "FeasibleValue",
    "Grid",
    "PointRobot",
    "feasible_value",
    "margin",
    "observe",
    "register",
    "speed_levels",
    "step_states",
]

register()
