"""A training that takes a moment: a perceptron learns two points."""

import torch

from guided.denoiser import NetDenoiser
from guided.nets import MLP
from guided.schedule import RectifiedFlow
from guided.train import TrainConfig, train

CONFIG = TrainConfig(steps=12, batch=8, lr=1e-2, warmup=3, save_every=5, log_every=2)


def denoiser(seed=0):
    torch.manual_seed(seed)
    return NetDenoiser(MLP(2, 2, hidden=(16,), time_features=8), RectifiedFlow(), "flow")


def batch(step, generator, size=8):
    """Two points, at (2, -2) and (-2, 2)."""
    side = torch.randint(0, 2, (size, 1), generator=generator) * 4.0 - 2.0
    return torch.cat([side, -side], dim=1), None


def final(config, folder=None, **options):
    model = denoiser()
    return model, list(train(model, batch, config, folder, **options))


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
