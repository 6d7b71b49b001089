"""Policies to guide by contrast: of random weights, or trained for a moment."""

import numpy as np
import torch

from domains.rl.contrast import Contrasts
from domains.rl.data.normalise import Normaliser
from domains.rl.data.offline import OfflineData
from domains.rl.imitate import Imitation
from domains.rl.model import ModelConfig, behaviour, energy
from domains.rl.networks import Networks
from domains.rl.policy import DiffusionPolicy, Sampling
from domains.rl.train import PolicyTraining
from guided.guidance.registry import Named, Options
from guided.rng import Rng, initial_weights
from guided.train import TrainConfig

S, A = 3, 2
MODEL = ModelConfig(width=16, depth=3, energy_width=16, energy_depth=2)
OBS = np.random.default_rng(0).normal(size=(5, S)).astype(np.float32)


def networks(null=True, weak=True):
    with initial_weights(0):
        nets = [behaviour(MODEL, S, A, null) for _ in range(2)]
        noisy = energy(MODEL, S, A)
        for net in nets:
            for parameter in net.parameters():
                torch.nn.init.normal_(parameter, std=0.3)
    low, high = torch.tensor([-2.0, 0.0]), torch.tensor([2.0, 10.0])
    normaliser = Normaliser(torch.tensor([1.0, 0.0, -1.0]), torch.ones(S), low, high)
    return Networks(nets[0], normaliser, None, noisy, MODEL, weak=nets[1] if weak else None)


def named(name, *scale, **options):
    return Named(name, Options(scale=scale, **options))


def policy(guidance=None, own=None, **sampling):
    chosen = Sampling(**{"steps": 4, "scale": 0.0, **sampling})
    return DiffusionPolicy(own or networks(), chosen, named=guidance)


def two_ways(count=2_000):
    """One step from one of two states; actions are near 0.6 in one, near -0.6 in the other."""
    rng = Rng(0)
    sign = 1.0 - 2.0 * rng.integers(0, 2, (count,))
    actions = 0.6 * sign[:, None] + 0.1 * rng.normal((count, 1))
    return OfflineData(
        states=torch.stack([sign, torch.zeros(count)], 1).repeat_interleave(2, 0),
        actions=actions.clamp(-1, 1),
        rewards=sign,
        terminals=torch.ones(count, dtype=torch.bool),
        timeouts=torch.zeros(count, dtype=torch.bool),
        starts=torch.arange(count + 1),
        low=-torch.ones(1),
        high=torch.ones(1),
        name="two ways",
    )


def training(steps, **contrast):
    loop = TrainConfig(
        steps=steps, batch=64, lr=3e-3, weight_decay=0.0, warmup=10, ema=0.98, save_every=steps
    )
    return PolicyTraining(
        ModelConfig(width=32, depth=3), Contrasts(**contrast), behaviour_loop=loop
    )


def imitated(folder, steps, **contrast):
    run = Imitation(two_ways(), training(steps, **contrast), folder)
    assert {progress.stage for progress in run.stages()} == {"behaviour"}
    return run
