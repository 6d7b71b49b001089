"""Guidance with a scale of its own for every frequency band."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from guided.denoiser import Denoiser
from guided.guidance.bands import Band
from guided.guidance.branches import null as null_branch
from guided.guidance.denoise.contrast import Contrast, DeltaOp, Term
from guided.guidance.scale import Scale
from guided.rng import Rng


class FrequencyGuidance(Contrast):
    r"""Classifier-free guidance whose scale differs from band to band.

    .. math:: \hat D = D_\varnothing + \sum_b w_b B_b (D_c - D_\varnothing), \qquad
              \sum_b B_b = \mathrm{id}

    The bands are any linear maps, see :mod:`guided.guidance.bands`: of an image, of time, of the
    beats of a bar. A larger scale of the high band adds detail without the drift of a large scale
    of the low one. Costs what CFG does.

    Args:
        denoiser: a conditional denoiser.
        scales: w_b of every band; all 1 is neutral, all equal is CFG.
        null: maps a condition to the null condition of the same batch size.
        bands: B_b, e.g. ``low_pass(2.0, dims=(-1,))``, which is (low, high). Their sum is tried on
            random numbers in the first call.
        ops: applied to the push within every band, in the space of x0, e.g.
            ``(cap(0.1), project(0.0))`` for APG in each; none is neutral.

    Raises:
        ValueError: for other numbers of scales and bands; in the first call, for bands that do not
            sum to the identity.

    Source: Zhang et al. 2025, FreCaS (arXiv 2410.18410; FA-CFG); Sadat et al. 2025,
        Guidance in the frequency domain (arXiv 2506.19713).
    """

    def __init__(
        self,
        denoiser: Denoiser,
        scales: Sequence[Scale],
        null: Callable[[Any], Any],
        bands: Sequence[Band],
        ops: Sequence[DeltaOp] = (),
    ) -> None:
        if len(scales) != len(bands) or not bands:
            raise ValueError(
                f"FrequencyGuidance needs one scale for every band, got {len(scales)} scales and "
                f"{len(bands)} bands"
            )
        weak = null_branch(null)
        super().__init__(
            denoiser,
            [
                Term(weak, scale, (self._try, _in(band, ops)))
                for scale, band in zip(scales, bands, strict=True)
            ],
        )
        self.bands, self.tried = tuple(bands), False

    def _try(self, delta: Tensor, strong: Tensor, weak: Tensor) -> Tensor:
        """Leave the difference, and in the first call try the bands."""
        if not self.tried:
            _require_identity(self.bands, delta)
            self.tried = True
        return delta


def _in(band: Band, ops: Sequence[DeltaOp]) -> DeltaOp:
    """Return an op that works on one band of the difference and of both predictions."""

    def op(delta: Tensor, strong: Tensor, weak: Tensor) -> Tensor:
        delta = band(delta)
        if ops:
            strong, weak = band(strong), band(weak)
        for inner in ops:
            delta = inner(delta, strong, weak)
        return delta

    return op


def _require_identity(bands: Sequence[Band], x: Tensor) -> None:
    probe = Rng(0).normal((1, *x.shape[1:]), x.dtype, x.device)
    parts = [band(probe) for band in bands]
    shapes = [tuple(part.shape) for part in parts]
    if any(shape != tuple(probe.shape) for shape in shapes):
        raise ValueError(
            f"a band has the shape of the sample, got {shapes} for x of shape {tuple(x.shape)}"
        )
    off = (torch.stack(parts).sum(0) - probe).abs().max().item()
    if not off <= torch.finfo(x.dtype).eps ** 0.5:
        raise ValueError(
            f"the bands sum to the identity, but on random numbers they are off by {off:.2g}; add "
            f"the band lambda x: x - (the sum of the others)"
        )
