"""A small energy net, and draws for it."""

import torch
from torch import nn

from guided import Rng, VPLinear
from guided.guidance import EnergyNet
from guided.nets import ScalarMLP

F64 = torch.float64


def scalar(dim=3, cond_dim=0, dtype=F64):
    """A small energy net whose every weight matters."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = ScalarMLP(dim, cond_dim, width=8, time_features=4)
        for p in net.parameters():
            nn.init.normal_(p, std=0.7)
    return EnergyNet(net.to(dtype), VPLinear())


def normal(*shape, seed=0, dtype=F64):
    return Rng(seed).normal(shape, dtype)


class Plain(nn.Module):
    """f of any shape, without a slope or a body of its own."""

    def forward(self, x, time, cond=None):
        f = -(x - time.reshape(-1, *[1] * (x.ndim - 1))).square().flatten(1).sum(1)
        return f if cond is None else f * cond[:, 0]
