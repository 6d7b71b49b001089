"""Safe offline reinforcement learning: tasks with costs, a point robot's feasible set known."""

from domains.rl.safe import velocity
from domains.rl.safe.point_robot import PointRobot, margin, observe, register, step_states
from domains.rl.safe.reachable import FeasibleValue, Grid, feasible_value, speed_levels
from domains.rl.safe.velocity import SafeVelocity

__all__ = [
    "FeasibleValue",
    "Grid",
    "PointRobot",
    "SafeVelocity",
    "feasible_value",
    "margin",
    "observe",
    "register",
    "speed_levels",
    "step_states",
]

register()
velocity.register()
