"""The law of a sampler's output in closed form, where every step is affine (Gaussian data)."""

from itertools import pairwise

import torch

from guided import Rng
from guided.sampler import Sampler, State


class Silent(Rng):
    """Draws zeros: what is left of a step is its mean."""

    def normal(self, shape, dtype=torch.float32, device=None) -> torch.Tensor:
        return torch.zeros(*shape, dtype=dtype)


def law_of_samples(sampler: Sampler, times: list[float]) -> tuple[float, float]:
    """Mean and variance of the samples, without sampling: on a Gaussian every step is affine in x.

    Two probes, x and x + 1, give the slope of the step; the kernel gives its noise.
    """
    levels = sampler.denoiser.schedule.levels(times)
    state = State(torch.tensor([[0.0], [1.0]], dtype=torch.float64))
    mean, variance = 0.0, levels[0].sigma ** 2
    for t, s in pairwise(levels):
        std = sampler.kernel(sampler.predict(state, t), t, s).std
        after = sampler.step(state, t, s, None, Silent(0))
        (x, moved), (y, moved_y) = state.x[:, 0].tolist(), after.x[:, 0].tolist()
        slope = (moved_y - y) / (moved - x)
        mean, variance = y + slope * (mean - x), slope**2 * variance + std**2
        state = after
    return mean, variance


def extrapolated(sampler: Sampler, coarse: list[float], fine: list[float]) -> tuple[float, float]:
    """Richardson's extrapolation of the law over two grids, the second twice as fine."""
    gain = 2**sampler.order - 1
    pairs = zip(law_of_samples(sampler, coarse), law_of_samples(sampler, fine), strict=True)
    mean, variance = (b + (b - a) / gain for a, b in pairs)
    return mean, variance
