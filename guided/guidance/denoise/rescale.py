"""Guidance rescaled to the spread of the conditional prediction."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from guided.denoiser import Denoiser
from guided.guidance.branches import null as null_branch
from guided.guidance.denoise.contrast import Contrast, Finish, Term
from guided.guidance.scale import Scale
from guided.guidance.space import Space


def rescale(phi: float = 0.7) -> Finish:
    r"""Return the finish of a contrast that gives it the standard deviation of the strong branch.

    .. math:: \hat D \leftarrow \phi\, \frac{\mathrm{std}(D_s)}{\mathrm{std}(\hat D)} \hat D
              + (1 - \phi) \hat D

    The standard deviation is over all entries of one sample, never over the batch. It differs from
    space to space, and so does the method: the contrast says which.

    Args:
        phi: how much of it; 0 is neutral, 1 all.

    Raises:
        ValueError: for a phi outside [0, 1].

    Source: Lin et al. 2024, Common diffusion noise schedules and sample steps are flawed (arXiv
        2305.08891), section 3.4.
    """
    if not 0 <= phi <= 1:
        raise ValueError(f"rescaling needs a phi in [0, 1], 0 for none, got {phi}")

    def finish(guided: Tensor, strong: Tensor) -> Tensor:
        spread, target = _std(guided), _std(strong)
        # A sample without spread has none to be rescaled.
        ratio = torch.where(spread > 0, target / spread.where(spread > 0, 1.0), 1.0)
        return guided * (1 + phi * (ratio - 1))

    return finish


class RescaledCFG(Contrast):
    r"""Classifier-free guidance whose result has the spread of the conditional prediction.

    :class:`CFG`, then :func:`rescale`: against the overexposure of large scales. Costs what CFG
    does.

    Args:
        denoiser: a conditional denoiser.
        scale: w; 1 is neutral.
        null: maps a condition to the null condition of the same batch size.
        phi: how much is rescaled; 0 is CFG.
        space: of what the standard deviation is taken: ``v``, what the networks of the paper
            predict, or another.

    Raises:
        ValueError: for a phi outside [0, 1].

    Source: see :func:`rescale`.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        scale: Scale,
        null: Callable[[Any], Any],
        phi: float = 0.7,
        space: Space = "v",
    ) -> None:
        finish = rescale(phi) if phi != 0 else None
        super().__init__(denoiser, [Term(null_branch(null), scale)], finish, space)


def _std(x: Tensor) -> Tensor:
    return x.flatten(1).std(1, correction=0).reshape(-1, *[1] * (x.ndim - 1))
