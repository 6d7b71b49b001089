"""Metrics of joint forecasts, in numpy.

Worlds are (K, N, F, 2): K worlds, N agents, F steps, metres; the truth is (N, F, 2), NaN where an
agent was not seen. ``world`` has the Argoverse 2 multi-world figures of a scenario, ``joint`` and
``windows`` those of pedestrian windows, ``collision`` their collision rate, ``guidance`` what tells
whether goals were reached, and ``kinematics`` whether a vehicle could drive so.
"""

from domains.trajectory.metrics.collision import collision_rates, hits
from domains.trajectory.metrics.displacement import average_errors, final_errors
from domains.trajectory.metrics.guidance import (
    GuidanceScores,
    goal_errors,
    guidance_scores,
    route_errors,
)
from domains.trajectory.metrics.joint import JointErrors, joint_errors
from domains.trajectory.metrics.kinematics import (
    accelerations,
    curvatures,
    feasible,
    jerks,
    motion_statistics,
    speeds,
    target_speed_errors,
)
from domains.trajectory.metrics.windows import WindowScores, WindowSummary
from domains.trajectory.metrics.world import (
    MultiWorld,
    averaged,
    brier_fde,
    collisions,
    misses,
    multi_world,
    world_ade,
    world_fde,
)

__all__ = [
    "GuidanceScores",
    "JointErrors",
    "MultiWorld",
    "WindowScores",
    "WindowSummary",
    "accelerations",
    "average_errors",
    "averaged",
    "brier_fde",
    "collision_rates",
    "collisions",
    "curvatures",
    "feasible",
    "final_errors",
    "goal_errors",
    "guidance_scores",
    "hits",
    "jerks",
    "joint_errors",
    "misses",
    "motion_statistics",
    "multi_world",
    "route_errors",
    "speeds",
    "target_speed_errors",
    "world_ade",
    "world_fde",
]
