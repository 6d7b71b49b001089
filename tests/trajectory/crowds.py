"""Crowds on a small map, and a small predictor with random weights, for tests of data and nets."""

from dataclasses import replace

import numpy as np
import torch

from domains.trajectory.batch import Inputs, Window, case
from domains.trajectory.model import ModelConfig, Predictor
from domains.trajectory.road import Lane, RoadMap
from domains.trajectory.scene import KINDS, Scene, directions
from guided.rng import initial_weights

WINDOW = Window(history=5, future=4, dt=0.5, reach=50.0, points=4, pieces=20)
NOW = WINDOW.history - 1
CONFIG = ModelConfig(window=WINDOW, latents=3, modes=3, width=8, heads=2, layers=1, draws=2)


def line(*points):
    return np.array(points, float)


def road():
    """A bent lane, a small and a large crossing, a stop line and a wall."""
    centre = line((-25, 1), (0, 1), (20, 9))
    lane = Lane("a", centre, centre + line(0, 2), centre - line(0, 2), successors=("b",))
    return RoadMap(
        lanes=(lane,),
        areas=(line((-30, -10), (30, -10), (30, 15), (-30, 15)),),
        crossings=(
            line((1, -2), (3, -2), (3, 0), (1, 0)),
            line((-9, -2), (-5, -2), (-5, 7), (-9, 7)),
        ),
        stops=(line((5, 0), (5, 2)),),
        walls=(line((-20, -8), (-3, -9)),),
    )


def crowd(seed=0, agents=5, steps=WINDOW.history + WINDOW.future, now=NOW, road=None, dt=0.5):
    """Walks that turn; agent 1 stands, 2 comes late, 3 has a gap, 4 leaves after now."""
    random = np.random.default_rng(seed)
    speed = random.uniform(0.5, 2, agents)
    angle = random.uniform(-np.pi, np.pi, agents)[:, None] + np.cumsum(
        random.normal(0, 0.3, (agents, steps)), 1
    )
    moves = dt * speed[:, None, None] * np.stack([np.cos(angle), np.sin(angle)], -1)
    moves[1::5] = 0
    positions = random.uniform(-8, 8, (agents, 1, 2)) + np.cumsum(moves, 1)
    valid = np.ones((agents, steps), bool)
    valid[2::5, : now - 1] = False
    valid[3::5, now - 2] = False
    valid[4::5, now + 2 :] = False
    positions = np.where(valid[..., None], positions, 0.0)
    return Scene(
        name=f"crowd-{seed}",
        ids=tuple(f"p{a}" for a in range(agents)),
        kinds=tuple(KINDS[a % len(KINDS)] for a in range(agents)),
        positions=positions,
        headings=directions(positions, valid, now),
        valid=valid,
        now=now,
        dt=dt,
        road=road,
    )


def turned(points, angle, shift):
    cos, sin = np.cos(angle), np.sin(angle)
    return points @ np.array([[cos, sin], [-sin, cos]]) + np.asarray(shift)


def moved(scene, angle, shift):
    """The same scene, turned about the origin and then shifted."""
    ways = scene.road
    if ways is not None:
        names = ("areas", "crossings", "stops", "walls")
        parts = {n: tuple(turned(x, angle, shift) for x in getattr(ways, n)) for n in names}
        lanes = tuple(
            replace(
                x, **{n: turned(getattr(x, n), angle, shift) for n in ("centre", "left", "right")}
            )
            for x in ways.lanes
        )
        ways = RoadMap(lanes=lanes, **parts)
    positions = turned(scene.positions, angle, shift)
    return replace(scene, positions=positions, headings=scene.headings + angle, road=ways)


def predictor(seed=0, dtype=torch.float32, **config):
    """A predictor whose weights and latents are random."""
    with initial_weights(seed):
        made = Predictor(replace(CONFIG, **config))
    futures = torch.randn(200, WINDOW.future, 2, generator=torch.Generator().manual_seed(seed))
    made.latents.fit(futures.cumsum(1) + torch.tensor([2.0, 0.0]) * torch.arange(1, 5)[:, None])
    return made.to(dtype).eval().requires_grad_(False)


def exact(cases):
    """Stack cases like collate, in double precision."""
    found = []
    for parts in zip(*(one.inputs for one in cases), strict=True):
        shape = [max(sizes) for sizes in zip(*(part.shape for part in parts), strict=True)]
        stacked = np.zeros((len(parts), *shape), parts[0].dtype)
        for i, part in enumerate(parts):
            stacked[(i, *(slice(n) for n in part.shape))] = part
        found.append(torch.from_numpy(stacked))
    return Inputs(*found)


def seen(*scenes):
    """What the network knows of scenes, in double precision."""
    return exact([case(scene.history(), WINDOW) for scene in scenes])
