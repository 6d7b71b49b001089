"""The walk back: draws from the prior given a noised sample, which sample-level methods share."""

from typing import Any

from torch import Tensor

from guided.rng import Rng
from guided.sampler import Sampler
from guided.schedule import log_snr


def require_stochastic(method: object, sampler: Sampler) -> None:
    """Check that a sampler can draw.

    Raises:
        ValueError: for a deterministic one.
    """
    if not sampler.stochastic:
        raise ValueError(
            f"{type(method).__name__} draws from p(x0 | x_t) and needs a stochastic sampler, got a "
            f"deterministic {type(sampler).__name__}; use one with eta=1"
        )


def walked_back(
    sampler: Sampler, z: Tensor, ratio: float, steps: int, sigma_min: float, cond: Any, rng: Rng
) -> Tensor:
    """Return draws of x0 (B, ...) given z = x0 + ratio * noise (B, ...).

    Args:
        sampler: a stochastic one.
        z: noised samples, at signal 1.
        ratio: noise-to-signal.
        steps: of the walk.
        sigma_min: its least noise-to-signal ratio.
        cond: any tree of tensors with leading axis B.
        rng: the source of all randomness.
    """
    schedule = sampler.denoiser.schedule
    times = log_snr(schedule, steps, sigma_min, ratio)
    return sampler.sample(schedule.level(times[0]).alpha * z, times, cond, rng=rng)
