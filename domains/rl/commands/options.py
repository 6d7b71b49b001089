"""What the commands share."""

from dataclasses import replace

import torch

from guided.train import TrainConfig


def threads(count: int) -> None:
    """Use so many threads; one is fastest for networks as small as these."""
    torch.set_num_threads(count)


def few(loop: TrainConfig) -> TrainConfig:
    """Return a loop of a few steps, for smoke tests."""
    return replace(loop, steps=20, batch=16, warmup=2, save_every=10, log_every=10)
