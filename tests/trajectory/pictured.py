"""Small synthetic scenes to draw: a bend of two lanes, and a plaza without a map."""

import numpy as np

from domains.trajectory.forecast import Forecast
from domains.trajectory.road import Lane, RoadMap
from domains.trajectory.scene import Scene, directions

DT = 0.4
HISTORY, FUTURE = 6, 10
RADIUS = 40.0


def bend(angles, radius):
    """Points on a circle, after a straight piece along the y axis."""
    turned = np.maximum(angles, 0.0)
    points = radius * np.stack([np.cos(turned), np.sin(turned)], -1)
    return points + RADIUS * np.stack([np.zeros_like(angles), np.minimum(angles, 0.0)], -1)


def lane(name, radius, sign):
    angles = np.linspace(-1.0, 1.3, 60)[::sign]
    inner, outer = bend(angles, radius - 1.8), bend(angles, radius + 1.8)
    left, right = (inner, outer) if sign > 0 else (outer, inner)
    return Lane(name, bend(angles, radius), left, right)


def road():
    low, high = bend(np.array([-0.12, -0.04]), RADIUS - 3.6), bend(np.array([-0.04, -0.12]), 43.6)
    stop = np.array([[RADIUS, -0.15 * RADIUS], [RADIUS + 3.6, -0.15 * RADIUS]])
    wall = bend(np.linspace(-1.0, 1.3, 40), RADIUS + 7)
    return RoadMap(
        lanes=(lane("up", RADIUS + 1.8, 1), lane("down", RADIUS - 1.8, -1)),
        crossings=(np.concatenate([low, high]),),
        stops=(stop,),
        walls=(wall,),
    )


def street():
    """Four cars on the bend, two pedestrians at its crossing; `late` is first seen at step 4."""
    steps = np.arange(HISTORY + FUTURE)
    cars = [
        bend(start + speed * DT * steps / RADIUS, radius)
        for start, speed, radius in ((-0.75, 9, 41.8), (-0.3, 8, 41.8), (0.9, -8, 38.2))
    ]
    parked = np.tile(bend(np.array([0.45]), 45.0), (len(steps), 1))
    walk = [
        np.stack([35 + 1.2 * DT * steps, np.full(len(steps), -3.0)], -1),
        np.stack([48 - 1.0 * DT * steps, np.full(len(steps), -3.6)], -1),
    ]
    positions = np.array([*cars, parked, *walk])
    valid = np.ones(positions.shape[:2], bool)
    valid[1, 12:] = False  # nobody knows how car 1 went on
    valid[5, :4] = False  # the last pedestrian comes late
    headings = directions(positions, valid, HISTORY - 1)
    headings[3] = 0.45 + np.pi / 2
    positions[~valid] = np.nan
    return Scene(
        "bend",
        ("c0", "c1", "c2", "parked", "walker", "late"),
        ("vehicle", "vehicle", "vehicle", "vehicle", "pedestrian", "pedestrian"),
        positions,
        headings,
        valid,
        HISTORY - 1,
        DT,
        road(),
    )


def plaza():
    """Eight pedestrians who cross a plaza without a map, and without a future."""
    rng = np.random.default_rng(3)
    steps = np.arange(-HISTORY + 1, 1) * DT
    around = np.arange(8) * np.pi / 4
    at = 6.0 * np.stack([np.cos(around), np.sin(around)], -1)
    speeds = 1.2 * np.stack([np.cos(around + 2.4), np.sin(around + 2.4)], -1)
    positions = at[:, None] + speeds[:, None] * steps[:, None]
    positions = positions + 0.05 * rng.standard_normal(positions.shape)
    valid = np.ones(positions.shape[:2], bool)
    return Scene(
        "plaza",
        tuple(f"p{i}" for i in range(8)),
        ("pedestrian",) * 8,
        positions,
        directions(positions, valid, HISTORY - 1),
        valid,
        HISTORY - 1,
        DT,
    )


def forecast(scene, agents=None, worlds=12, spread=0.25, goals=(), likely=True, seed=0):
    """Constant turns and accelerations of agents, random in every world."""
    rng = np.random.default_rng(seed)
    agents = np.flatnonzero(scene.present) if agents is None else np.asarray(agents)
    speed = scene.velocities()[agents]
    way = np.linalg.norm(speed, axis=-1)
    times = DT * (1 + np.arange(FUTURE))
    shape = (worlds, len(agents), 1)
    turn = 0.15 * spread * rng.standard_normal(shape) * times + 0.02 * times
    faster = np.maximum(1 + spread * 0.25 * rng.standard_normal(shape) * times, 0)
    towards = np.arctan2(speed[:, 1], speed[:, 0])[None, :, None] + turn
    moves = DT * way[:, None] * faster
    steps = moves[..., None] * np.stack([np.cos(towards), np.sin(towards)], -1)
    found = scene.positions[agents, scene.now][None, :, None] + np.cumsum(steps, 2)
    weights = np.arange(worlds, 0, -1.0) if likely else np.ones(worlds)
    return Forecast(scene, agents, found, DT, weights / weights.sum(), tuple(goals))
