"""Safe offline reinforcement learning: a point robot whose feasible set is known."""

from domains.rl.safe.point_robot import PointRobot, margin, observe, register, step_states

__all__ = ["PointRobot", "margin", "observe", "register", "step_states"]

register()
