"""Scenes of walkers with a lane, and a predictor that takes a moment, for many tests."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch

from domains.trajectory.batch import Window
from domains.trajectory.dataset import Augmentation, Dataset
from domains.trajectory.model import ModelConfig, Predictor, Prior
from domains.trajectory.road import RoadMap
from domains.trajectory.scene import Scene, directions
from domains.trajectory.train import TrajectoryTraining, untrained
from guided.train import TrainConfig, train
from tests.trajectory.small_scene import straight_lane

HISTORY, FUTURE, DT = 3, 6, 0.5
WINDOW = Window(history=HISTORY, future=FUTURE, dt=DT, reach=40.0, points=4, pieces=4)
MODEL = ModelConfig(window=WINDOW, latents=4, modes=3, width=16, heads=2, layers=1, draws=2)
LOOP = TrainConfig(steps=60, batch=8, lr=1e-2, warmup=5, ema=0.9, save_every=7, log_every=10)
METHODS = ("none", "ecm", "ecmr", "mpgd", "next-noise-mean", "score-function")


def walkers(agents: int, seed: int = 0) -> Scene:
    """Agents on arcs at speeds of 0.5 to 4 m/s; far from 0, with a lane."""
    random = np.random.default_rng((agents, seed))
    times = DT * np.arange(-HISTORY + 1, FUTURE + 1)
    speed, angle = random.uniform(0.5, 4, (agents, 1)), random.uniform(-3, 3, (agents, 1))
    angles = angle + random.uniform(-0.3, 0.3, (agents, 1)) * times
    steps = speed[..., None] * DT * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    here = np.array([500.0, -300.0]) + random.uniform(-15, 15, (agents, 1, 2))
    positions = here + steps.cumsum(1)
    valid = np.ones(positions.shape[:2], bool)
    lane = straight_lane("1", (480, -300), (520, -300))
    return Scene(
        name=f"walkers-{agents}-{seed}",
        ids=tuple(f"w{a}" for a in range(agents)),
        kinds=tuple(("pedestrian", "vehicle")[a % 2] for a in range(agents)),
        positions=positions,
        headings=directions(positions, valid, HISTORY - 1),
        valid=valid,
        now=HISTORY - 1,
        dt=DT,
        road=RoadMap(lanes=(lane,)),
    )


@cache
def crowd() -> tuple[Scene, ...]:
    """Thirty scenes of one to five agents."""
    return tuple(walkers(1 + i % 5, i) for i in range(30))


@cache
def data() -> Dataset:
    return Dataset(crowd(), WINDOW)


def training(prior: Prior = "ogd", **loop: Any) -> TrajectoryTraining:
    return TrajectoryTraining(model=replace(MODEL, prior=prior), loop=replace(LOOP, **loop))


def small(prior: Prior = "ogd") -> Predictor:
    """Return a predictor with seeded weights and fitted latents, ready to sample."""
    return untrained(data(), training(prior)).eval().requires_grad_(False)


@cache
def trained() -> Predictor:
    """Return a predictor after a few steps; shared, so leave it alone."""
    predictor = untrained(data(), training())

    def batch(step: int, generator: torch.Generator) -> Any:
        return data().batch(LOOP.batch, generator, Augmentation())

    *_, state = train(predictor, batch, LOOP)
    predictor.load_state_dict(state.ema)
    return predictor.eval().requires_grad_(False)


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
