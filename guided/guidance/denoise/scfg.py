"""Semantic-aware CFG: guidance of the same strength in every region."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from guided.denoiser import Denoiser
from guided.guidance.attention_regions import AttentionRegions
from guided.guidance.branches import null as null_branch
from guided.guidance.branches import perturbed
from guided.guidance.denoise.contrast import Contrast, Term
from guided.guidance.regions import equalised, fitting, require_shares
from guided.guidance.scale import Scale


class SCFG(Contrast):
    r"""Classifier-free guidance whose push has the same mean size in every region.

    .. math::
        \hat D = D_c + (w - 1) \Big[1 + \sum_i m_i (\gamma_i - 1) \Big] \Delta, \qquad
        \gamma_i = \mathrm{clamp}\Big( \frac{\mathrm{mean}_f |\Delta|}
                   {\mathrm{mean}_{m_i} |\Delta|} \Big), \qquad
        \Delta = D_c - D_\varnothing,

    with f the foreground, of all regions but one. The ratio is the same in every space. Regions are
    what a domain knows: bars, tracks, agents, segments; or what the network's attention tells.
    Costs what CFG does.

    Args:
        denoiser: a conditional denoiser; for regions from attention one that takes a control.
        scale: w, a number, one per request (R,), or a function of the level; 1 is neutral.
        null: maps a condition to the null condition of the same batch size.
        masks: m_i, (R, ...) for all samples or (Q, R, ...) of Q requests that divide the batch,
            which broadcast against a sample; or :class:`AttentionRegions`. One region of all
            entries is CFG. Entries of none are guided as in CFG.
        channel: axis of x over which the size is the Euclidean norm, where masks have the length 1;
            None = the absolute value of every entry.
        background: index of the region that is not of the foreground; None = all are.
        low: smallest ratio, at most 1.
        high: largest ratio, at least 1; both 1 is CFG.

    Raises:
        ValueError: for masks outside [0, 1], or bounds that leave out 1; in a call, for masks that
            do not fit.

    Source: Shen et al. 2024, Rethinking the spatial inconsistency in classifier-free diffusion
        guidance (arXiv 2404.05384).
    Differs: the ratio scales w - 1 rather than w, which keeps w = 1 neutral; it is not smoothed,
        and not bounded by 15 / w.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        scale: Scale,
        null: Callable[[Any], Any],
        masks: Tensor | AttentionRegions,
        channel: int | None = None,
        background: int | None = None,
        low: float = 0.8,
        high: float = 3.0,
    ) -> None:
        if not 0 < low <= 1 <= high:
            raise ValueError(f"the bounds of a ratio leave in 1, got low={low} and high={high}")
        weak, strong = null_branch(null), None
        if isinstance(masks, Tensor):
            require_shares(masks)
        else:
            strong = perturbed(masks.control)

        def op(delta: Tensor, strong: Tensor, weak: Tensor) -> Tensor:
            own = fitting(masks, delta) if isinstance(masks, Tensor) else masks.masks(delta)
            return equalised(delta, own, channel, background, (low, high))

        super().__init__(denoiser, [Term(weak, scale, (op,))], strong=strong)
