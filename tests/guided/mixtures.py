"""Mixtures of every shape and kind of covariance, and how they are compared."""

import math

import torch

from guided.exact import Mixture
from guided.rng import Rng
from guided.schedule import Level

D64 = torch.float64
LEVELS = [
    Level(0.5, 0.8, 0.6),
    Level(0.9, 0.05, 0.99),
    Level(0.1, 0.999, 0.04),
    Level(0.5, 1.0, 7.0),
    Level(1.0, 0.0, 1.0),
]
SHAPES = [(3,), (2, 3), (2, 1, 2)]
KINDS = ["scalar", "isotropic", "diagonal", "full"]


def randn(*shape, seed=7):
    return Rng(seed).normal(shape, D64)


def spd(count, size, seed):
    root = Rng(seed).normal((count, size, size), D64)
    return 0.3 * root @ root.mT + 0.05 * torch.eye(size, dtype=D64)


def covs(kind, count, shape):
    positive = Rng(11).uniform((count, *shape), D64) + 0.1
    return {
        "scalar": 0.4,
        "isotropic": positive.flatten(1)[:, 0],
        "diagonal": positive,
        "full": spd(count, math.prod(shape), 12),
    }[kind]


def law(shape=(3,), kind="full", count=3):
    weights = torch.tensor([0.5, 0.2, 0.3], dtype=D64)[:count]
    return Mixture(weights, 1.5 * Rng(1).normal((count, *shape), D64), covs(kind, count, shape))


def line():
    """A one-dimensional mixture, and a fine grid that carries all of its mass."""
    mixture = Mixture(
        torch.tensor([0.5, 0.2, 0.3], dtype=D64),
        torch.tensor([[-2.0], [0.3], [1.5]], dtype=D64),
        torch.tensor([0.09, 0.5, 0.04], dtype=D64),
    )
    return mixture, torch.linspace(-9, 9, 60001, dtype=D64)


def score_by_autograd(mixture, x):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(mixture.log_prob(x).sum(), x)[0]


def matrices(mixture):
    return mixture.covariances.matrices().numpy()


def close(a, b, tolerance=1e-9):
    torch.testing.assert_close(
        torch.as_tensor(a, dtype=D64), torch.as_tensor(b, dtype=D64), atol=tolerance, rtol=tolerance
    )
