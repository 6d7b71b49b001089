r"""Snapshots of the flow for training, simulated on the spot, and the symmetries of their law.

With the forcing :math:`-4 \cos 4y`, whatever holds for a field holds for it moved along x, moved
along y by a wave of the forcing, turned by half a turn, and mirrored in x with a shift of half a
wave and the other sign.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from domains.image.flow.solver import WAVES, KolmogorovFlow
from guided.rng import Rng, stream_seed

SPLITS = ("train", "test")
START = 7.0  # wave number of the smooth random start's spectrum, and its height


@dataclass(frozen=True)
class FieldConfig:
    """Which snapshots are simulated."""

    size: int = 64
    """Points along an axis."""
    reynolds: float = 40.0
    """Reynolds number."""
    trajectories: int = 256
    """Independent flows."""
    burn_in: float = 20.0
    """Time before the first snapshot. The start is forgotten; the energy settles by time 50."""
    snapshots: int = 32
    """Fields taken from each flow."""
    spacing: float = 1.5
    """Time between two snapshots."""
    seed: int = 0
    """Seed of the starts; the test flows have others."""


def simulated(
    config: FieldConfig, split: str = "train", progress: Callable[[int], None] | None = None
) -> Tensor:
    """Return snapshots (trajectories * snapshots, size, size) in float32, flow by flow.

    Args:
        config: which.
        split: ``train`` or ``test``: flows with starts of their own.
        progress: called with the number of time units simulated since the last call.

    Raises:
        ValueError: for an unknown split.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; expected one of {', '.join(SPLITS)}")
    rng = Rng(stream_seed(config.seed, SPLITS.index(split), config.size))
    flow = KolmogorovFlow(config.size, config.reynolds)
    parts = []
    for first in range(0, config.trajectories, 32):
        w = _start(min(32, config.trajectories - first), config.size, rng)
        taken = []
        for index in range(config.snapshots):
            w = flow(w, config.spacing if index else config.burn_in)
            taken.append(w)
            if progress:
                progress(len(w))
        parts.append(torch.stack(taken, 1).flatten(0, 1))
    return torch.cat(parts)


def held_out_fields(config: FieldConfig) -> Tensor:
    """Return a snapshot of every test flow (trajectories, size, size), each of a random time.

    So they follow the law of the training snapshots, which changes while the energy settles.
    """
    flows = simulated(config, "test").unflatten(0, (config.trajectories, config.snapshots))
    rng = Rng(stream_seed(config.seed, len(SPLITS), config.size))
    drawn = rng.integers(0, config.snapshots, (config.trajectories,))
    return flows[torch.arange(config.trajectories), drawn]


def cached(
    config: FieldConfig, split: str, folder: Path, progress: Callable[[int], None] | None = None
) -> Tensor:
    """Return what :func:`simulated` does, kept in ``folder`` in half precision."""
    numbers = "-".join(f"{v:g}" for v in vars(config).values())
    path = folder / f"flow-{split}-{numbers}.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npy")
        np.save(part, simulated(config, split, progress).half().numpy())
        part.rename(path)
    return torch.from_numpy(np.load(path)).float()


def transformed(w: Tensor, generator: torch.Generator) -> Tensor:
    """Return every field (B, size, size) under a random symmetry of the law."""
    size = w.shape[-1]
    wave = size // WAVES
    n = len(w)
    dx = torch.randint(size, (n, 1), generator=generator)
    dy = wave * torch.randint(WAVES, (n, 1), generator=generator)
    turned, mirrored = (torch.randint(2, (n, 1), generator=generator).bool() for _ in range(2))
    points = torch.arange(size)
    # Pixel i of the result is pixel sign * i + shift of w.
    rows = torch.where(turned, -points, points) + dy + torch.where(mirrored, wave // 2, 0)
    columns = torch.where(turned ^ mirrored, -points, points) + dx
    picked = w[torch.arange(n)[:, None, None], rows[:, :, None] % size, columns[:, None] % size]
    return torch.where(mirrored[..., None], -picked, picked)


def _start(count: int, size: int, rng: Rng) -> Tensor:
    """Return smooth random fields of mean 0."""
    k = torch.fft.fftfreq(size, 1 / size)[:, None]
    l = torch.fft.rfftfreq(size, 1 / size)[None]  # noqa: E741
    height = START * (1 + (k.square() + l.square()) / START**2) ** -1.25
    height[0, 0] = 0
    noise = rng.normal((count, size, size), torch.float32)
    return torch.fft.irfft2(torch.fft.rfft2(noise) * height / START, s=(size, size))
