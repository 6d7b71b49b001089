"""A small transformer of random weights behind the denoiser contract."""

import torch

from guided import NetDenoiser, VPLinear
from guided.nets import Transformer
from guided.rng import initial_weights
from guided.schedule import Level
from tests.guided.draws import normal

LEVEL = VPLinear().level(0.4)


def transformer(depth: int = 3) -> Transformer:
    """Every weight matters; double precision; two labels, and 2 is no label."""
    with initial_weights(0):
        net = Transformer(5, width=24, depth=depth, heads=2, labels=2, period=4).double()
    with torch.no_grad():
        for seed, p in enumerate(net.parameters()):
            p.add_(0.3 * normal(*p.shape, seed=seed))
    return net.requires_grad_(False)


def denoiser(depth: int = 3) -> NetDenoiser:
    return NetDenoiser(transformer(depth), VPLinear())


def inputs(batch: int = 4, tokens: int = 10) -> tuple[torch.Tensor, Level, torch.Tensor]:
    return normal(batch, tokens, 5), LEVEL, torch.arange(batch) % 2


def no_label(cond: torch.Tensor) -> torch.Tensor:
    return torch.full_like(cond, 2)


def mixed(strong, weak, w):
    """weak + w (strong - weak), of both entries."""
    return weak.x0 + w * (strong.x0 - weak.x0), weak.eps + w * (strong.eps - weak.eps)


def assert_same(found, expected, tolerance: float = 1e-12) -> None:
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)
