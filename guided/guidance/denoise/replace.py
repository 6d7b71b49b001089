r"""Keeps a known part of the sample: infilling and continuation."""

from typing import Any

import torch
from torch import Tensor

from guided.denoiser import Denoiser, DenoiserWrapper, Prediction
from guided.schedule import Level


class Replace(DenoiserWrapper):
    r"""Replaces the clean estimate by known values, and makes eps consistent with it.

    .. math:: \hat x_0 = m \odot y + (1 - m) \odot x_0, \qquad
              \hat\varepsilon = (x - \alpha \hat x_0) / \sigma.

    The known part then follows the forward process of y exactly, and ends at y; the rest sees it
    through the denoiser. It moves the clean estimate, and is not exact conditioning.

    Args:
        denoiser: the model.
        known: y, of a shape that broadcasts against x; only its masked cells are read.
        mask: m, boolean, true where the sample is known; broadcasts against x. All False is
            neutral.

    Source: Song et al. 2021, Score-based generative modeling through SDEs, appendix I.2.
    Differs: acts on the estimate rather than on the noised sample.
    """

    def __init__(self, denoiser: Denoiser, known: Tensor, mask: Tensor) -> None:
        super().__init__(denoiser)
        if mask.dtype != torch.bool:
            raise TypeError(f"the mask says known or not and is boolean, got {mask.dtype}")
        self.known = known
        self.mask = mask

    def forward(self, x: Tensor, level: Level, cond: Any = None) -> Prediction:
        """Return the prediction with the known part in its place."""
        found = self.denoiser(x, level, cond)
        x0 = torch.where(self.mask, self.known.to(x), found.x0)
        exact = (x - level.alpha * x0) / level.sigma
        return Prediction(x0, torch.where(self.mask, exact, found.eps))
