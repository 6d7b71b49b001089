"""How far samples are from the target: the energy distance, and shares of modes."""

import torch
from torch import Tensor

from domains.rl.bandits.sets import MODES, centres
from guided.metrics import energy_distance


def distance(x: Tensor, truth: Tensor) -> float:
    """Return the energy distance of samples (N, 2) to exact draws (M, 2); inf where some diverged.

    It is unbiased, so that exact samples are as often below zero as above.
    """
    return energy_distance(x, truth) if bool(x.isfinite().all()) else float("inf")


def mode_shares(x: Tensor) -> Tensor:
    """Return the share of samples (N, 2) whose nearest centre of 8gaussians is each, (8,)."""
    nearest = torch.cdist(x.double(), centres().double()).argmin(1)
    return torch.bincount(nearest, minlength=MODES).double() / len(x)


def target_shares(beta: float) -> Tensor:
    """Return the weights of the eight modes in the target, which keeps their shapes, (8,)."""
    return torch.softmax(beta * torch.arange(MODES, dtype=torch.float64) / (MODES - 1), 0)


def mode_error(x: Tensor, beta: float) -> float:
    """Return the total variation between the shares of modes of samples and of the target."""
    return float(0.5 * (mode_shares(x) - target_shares(beta)).abs().sum())
