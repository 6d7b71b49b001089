"""Guidance by a network that is told a shifted noise level."""

import math
from typing import Any

from torch import Tensor

from guided.denoiser import Denoiser, DenoiserWrapper, Prediction
from guided.guidance.branches import network
from guided.guidance.denoise.contrast import Contrast, Term
from guided.guidance.scale import Scale
from guided.schedule import Level


class SigmaShift(Contrast):
    r"""Contrast with the same network that is told a shifted noise level.

    .. math:: \hat D = \tilde D + w (D - \tilde D), \qquad
              \tilde D = D(x / \alpha; \sigma / \alpha \cdot (1 + \delta))

    A shift up makes the weak estimate smoother, and the push spreads the samples out; a shift down
    draws them together: on exact :math:`N(m, v)` the flow ends with variance
    :math:`v (1 + \delta)^{2 (w - 1)}`. Which sign helps depends on the network's errors. The weak
    branch is at another level, so it is a network call of its own.

    Args:
        denoiser: the network.
        scale: w, a number, one per request (R,), or a function of the level; 1 is neutral.
        shift: delta above -1; 0 is neutral, of either sign.

    Raises:
        ValueError: for a shift that is not above -1.

    Source: Li et al. 2024, Self-guidance: boosting flow and diffusion generation on their own,
        https://arxiv.org/abs/2412.05827.
    Differs: relative to sigma / alpha, and with x / alpha unchanged, for any schedule; at the
        schedule's end the shift is cut.
    """

    def __init__(self, denoiser: Denoiser, scale: Scale, shift: float = 0.1) -> None:
        super().__init__(denoiser, [Term(network(Shifted(denoiser, shift)), scale)])


class Shifted(DenoiserWrapper):
    """A network that is told another noise level than that of x.

    Args:
        denoiser: the network.
        shift: delta above -1: it is told the ratio of noise to signal times 1 + delta.

    Raises:
        ValueError: for a shift that is not above -1; in the call, for a level of tensors.
    """

    def __init__(self, denoiser: Denoiser, shift: float) -> None:
        super().__init__(denoiser)
        if not (-1 < shift < math.inf):
            raise ValueError(f"a shift of the noise level is above -1, got {shift}; 0 is neutral")
        self.shift = shift

    def forward(self, x: Tensor, level: Level, cond: Any = None) -> Prediction:
        """Predict; eps is that of the level of x."""
        if isinstance(level.t, Tensor):
            raise ValueError(
                f"a shift of the noise level needs one time for all rows, got a "
                f"tensor of {tuple(level.t.shape)}; take levels from Schedule.levels"
            )
        ratio = level.noise_to_signal * (1 + self.shift)
        if math.isinf(ratio) or self.shift == 0:
            return self.denoiser(x, level, cond)
        told = self.schedule.level(self.schedule.time(ratio))
        x0 = self.denoiser(x * (told.alpha / level.alpha), told, cond).x0
        return Prediction(x0, (x - level.alpha * x0) / level.sigma)
