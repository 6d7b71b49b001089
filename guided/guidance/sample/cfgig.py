"""Gibbs-like guidance: samples of the conditional model, refined by short guided runs."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from guided.guidance.step.restart import noised_back
from guided.rng import Rng
from guided.sampler import Sampler


class CFGiG:
    r"""Samples the conditional model, then noises the sample a little and denoises it with CFG.

    .. math:: x_0 \sim p(x|c), \qquad \text{R times:} \quad
              x_{t^*} = \alpha x_0 + \sigma z, \quad x_0 \leftarrow \mathrm{CFG}(x_{t^*}).

    CFG from pure noise does not sample :math:`\pi \propto p(x|c)^w p(x)^{1-w}`: at high noise its
    score lacks the gradient of a Renyi divergence, a repulsion. At low noise that term vanishes,
    so that for a small ratio and many repetitions the samples are those of pi. A larger ratio moves
    farther in each repetition, and is biased more.

    Costs a run of the sampler, and R guided runs of the last steps of the same grid.

    Args:
        sampler: of the conditional model, e.g. ``DDIM(denoiser)``.
        guided: of the guided one, e.g. ``DDIM(CFG(denoiser, ...))``.
        ratio: noise-to-signal at t*.
        repetitions: R; 0 is neutral.

    Raises:
        TypeError: for what is no sampler.
        ValueError: for samplers of different schedules, or numbers out of range.

    Source: Moufad et al. 2025, Conditional diffusion models with classifier-free Gibbs-like
        guidance (arXiv 2505.21101), algorithm 1.
    Differs: all repetitions walk the steps of one grid that are below t*.
    """

    def __init__(
        self, sampler: Sampler, guided: Sampler, ratio: float, repetitions: int = 2
    ) -> None:
        for given in (sampler, guided):
            if not isinstance(given, Sampler):
                raise TypeError(
                    f"CFGiG needs two samplers, got {type(given).__name__}; e.g. "
                    f"CFGiG(DDIM(denoiser), DDIM(CFG(denoiser, ...)), ratio=1.0)"
                )
        if sampler.denoiser.schedule != guided.denoiser.schedule:
            raise ValueError(
                f"the samplers have the schedules {sampler.denoiser.schedule} and "
                f"{guided.denoiser.schedule}; both must mean the same noise"
            )
        if repetitions < 0 or not ratio > 0:
            raise ValueError(
                f"CFGiG needs a ratio > 0 and repetitions >= 0, got {ratio} and {repetitions}"
            )
        self.sampler, self.guided = sampler, guided
        self.ratio, self.repetitions = ratio, repetitions

    def sample(self, x: Tensor, times: Sequence[float], cond: Any = None, *, rng: Rng) -> Tensor:
        """Return refined x_0 (B, ...); arguments as in ``Sampler.sample``."""
        schedule = self.sampler.denoiser.schedule
        start = min(schedule.time(self.ratio), times[0])
        below = [start, *(t for t in times if t < start)]
        high, low = schedule.level(start), schedule.level(times[-1])
        x0 = self.sampler.sample(x, times, cond, rng=rng)
        for _ in range(self.repetitions):
            x0 = self.guided.sample(noised_back(x0, low, high, rng), below, cond, rng=rng)
        return x0
