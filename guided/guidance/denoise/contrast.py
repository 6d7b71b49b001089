r"""The primitive of the contrast family: a strong prediction pushed away from a weak one."""

from collections.abc import Callable
from typing import Any

import torch

from guided.cond import concat
from guided.denoiser import Denoiser, DenoiserWrapper, Prediction
from guided.schedule import Level


class Contrast(DenoiserWrapper):
    r"""Extrapolates from a weak prediction through the strong one.

    .. math:: \hat x_0 = x_0^{weak} + w\, (x_0^{strong} - x_0^{weak})

    and the same for eps, so the pair stays consistent: it is affine, hence the same method in x0,
    eps, v and flow. Where both come from one network, they are evaluated in one stacked call.

    Args:
        denoiser: the strong branch.
        scale: w. 1 is neutral and skips the weak call; 0 is the weak branch alone.
        weak_cond: makes the weak branch's condition from the strong one's.
        weak: another network for the weak branch; None uses the strong one.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        scale: float,
        weak_cond: Callable[[Any], Any],
        weak: Denoiser | None = None,
    ) -> None:
        super().__init__(denoiser)
        self.scale = float(scale)
        self.weak_cond = weak_cond
        self.weak = weak

    def forward(self, x: torch.Tensor, level: Level, cond: Any = None) -> Prediction:
        """Return the extrapolated prediction."""
        if self.scale == 1:
            return self.denoiser(x, level, cond)
        if self.weak is None and self.scale == 0:
            return self.denoiser(x, level, self.weak_cond(cond))
        if self.weak is None:
            both = self.denoiser(torch.cat([x, x]), level, concat([cond, self.weak_cond(cond)]))
            (x0, x0_weak), (eps, eps_weak) = both.x0.chunk(2), both.eps.chunk(2)
        else:
            x0, eps = self.denoiser(x, level, cond)
            x0_weak, eps_weak = self.weak(x, level, self.weak_cond(cond))
        return Prediction(
            torch.lerp(x0_weak, x0, self.scale), torch.lerp(eps_weak, eps, self.scale)
        )
