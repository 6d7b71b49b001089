"""A small scene with known numbers, shared by the tests of costs."""

import numpy as np
import torch

from domains.trajectory.costs import Setting
from domains.trajectory.road import Lane, RoadMap
from domains.trajectory.scene import Scene

ORIGIN = np.array([100.0, 200.0])
DT, STEPS = 0.5, 4


def straight_lane(id, start, end, width=4.0, **more):
    start, end = np.array(start, float), np.array(end, float)
    along = (end - start) / np.linalg.norm(end - start)
    left = np.array([-along[1], along[0]]) * width / 2
    centre = np.stack([start, (start + end) / 2, end])
    return Lane(id, centre, centre + left, centre - left, **more)


ROAD = RoadMap(
    lanes=(
        straight_lane("12", (95, 200), (115, 200), successors=("13",)),
        straight_lane("13", (115, 200), (115, 230)),
        straight_lane("7", (95, 204), (115, 204)),
    )
)


def scene(road=ROAD):
    """Agent 1 at the origin drives east at 2 m/s, 2 is 4 m ahead of it, ego is still at (0, 4)."""
    ago = np.arange(2, -1, -1) * DT
    way = np.stack([-2 * ago, 0 * ago], axis=-1)
    positions = ORIGIN + np.stack([way, way + np.array([4, 0]), 0 * way + np.array([0, 4])])
    return Scene(
        name="small",
        ids=("1", "2", "ego"),
        kinds=("vehicle", "bus", "pedestrian"),
        positions=positions,
        headings=np.array([[0.0] * 3, [0.0] * 3, [np.pi / 2] * 3]),
        valid=np.ones((3, 3), bool),
        now=2,
        dt=DT,
        road=road,
    )


def setting(road=ROAD, **more):
    return Setting.of(scene(road), [0, 1, 2], DT, more.pop("horizon", STEPS), ORIGIN)


def futures(*ways):
    """Return (1, A, F, 2) from one list of F points for every agent."""
    return torch.tensor([ways], dtype=torch.float64)


def steady(speed=2.0, horizon=STEPS):
    """Return what happens if agents 1 and 2 go on at a speed, and ego stays: (1, 3, F, 2)."""
    way = speed * DT * torch.arange(1, horizon + 1, dtype=torch.float64)
    p = torch.zeros(1, 3, horizon, 2, dtype=torch.float64)
    p[0, 0, :, 0], p[0, 1, :, 0], p[0, 2, :, 1] = way, way + 4, 4
    return p
