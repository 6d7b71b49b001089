"""The law of a sampler's output in closed form, where every step is affine (Gaussian data)."""

from itertools import pairwise

import torch

from guided import Rng
from guided.exact import Mixture
from guided.sampler import Sampler, State


class Silent(Rng):
    """Draws zeros: what is left of a step is its mean."""

    def normal(self, shape, dtype=torch.float32, device=None) -> torch.Tensor:
        return torch.zeros(*shape, dtype=dtype)


def law_of_samples(
    sampler: Sampler, times: list[float], start: Mixture | None = None
) -> tuple[float, float]:
    """Mean and variance of the samples, without sampling: on a Gaussian every step is affine in x.

    The run starts from pure noise, or from the law ``start`` of x0 noised to the first level (pure
    noise differs from that by alpha * mean, which a deterministic sampler never forgets).
    Two probes, x and x + 1, give the slope of the step; the kernel gives its noise.
    """
    levels = sampler.denoiser.schedule.levels(times)
    state = State(torch.tensor([[0.0], [1.0]], dtype=torch.float64))
    mean, variance = 0.0, levels[0].sigma ** 2
    if start is not None:
        noised = start.noised(levels[0])
        mean, variance = noised.mean().item(), noised.cov().item()
    for t, s in pairwise(levels):
        std = sampler.kernel(sampler.predict(state, t), t, s).std
        after = sampler.step(state, t, s, None, Silent(0))
        (x, moved), (y, moved_y) = state.x[:, 0].tolist(), after.x[:, 0].tolist()
        slope = (moved_y - y) / (moved - x)
        mean, variance = y + slope * (mean - x), slope**2 * variance + std**2
        state = after
    return mean, variance


def extrapolated(
    sampler: Sampler, coarse: list[float], fine: list[float], start: Mixture | None = None
) -> tuple[float, float]:
    """Richardson's extrapolation of the law over two grids, the second twice as fine."""
    gain = 2**sampler.order - 1
    laws = (law_of_samples(sampler, times, start) for times in (coarse, fine))
    mean, variance = (b + (b - a) / gain for a, b in zip(*laws, strict=True))
    return mean, variance
