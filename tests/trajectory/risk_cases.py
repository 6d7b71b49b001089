"""Two plans, three ways to track them, and an obstacle."""

import numpy as np
import torch

from domains.trajectory.risk import Discs, PointMass, ReachDensity, Unicycle, bicycle
from guided import Rng

D64 = torch.float64
DT, STEPS = 0.4, 6
TIMES = DT * np.arange(1, STEPS + 1)
COV = np.diag([0.2, 0.3, 0.05, 0.1]) + 0.01
STRAIGHT = np.stack([4 * TIMES, 0 * TIMES], -1)
TURN = np.stack([4 * TIMES, 0.5 * TIMES**2], -1)
WALKER = [0.0, 0.0, 4.0, 0.3]  # x, y, vx, vy
DRIVER = [0.0, 0.0, 0.1, 4.0]  # x, y, heading, speed
TRACKERS = {
    "point": (PointMass(0.8, 1.2), WALKER),
    "unicycle": (Unicycle(0.8, 1.2), DRIVER),
    "bicycle": (bicycle(2.8, 0.5), DRIVER),
}


def density(name="point", cov=COV, **more):
    dynamics, mean = TRACKERS[name]
    return ReachDensity(dynamics, mean, cov, **more)


def disc(*centre, radius=1.0):
    """A disc that stands still."""
    return Discs(np.tile(np.array(centre, float), (1, 1, STEPS, 1)), np.ones(1), radius)


def beside(side, plan):
    """A plan so many metres to the left."""
    return plan + np.array([0.0, side])


def random_states(count):
    return torch.tensor(DRIVER).double() + Rng(3).normal((count, 4), D64)
