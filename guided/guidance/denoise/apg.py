"""Adaptive projected guidance: without the part of the push that oversaturates."""

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from guided.denoiser import Denoiser
from guided.guidance.branches import null as null_branch
from guided.guidance.denoise.contrast import Contrast, Term
from guided.guidance.ops import cap, project
from guided.guidance.scale import Scale

OFF_CENTRE = 0.5
"""Data count as not centred where their mean is more than this share of their root mean square."""


class APG(Contrast):
    r"""Classifier-free guidance whose push is capped, and projected, in the space of x0.

    .. math::
        \Delta &= D_c - D_\varnothing, \qquad
        \Delta \leftarrow \Delta \min(1, r / \mathrm{rms}(\Delta)), \\
        \hat D &= D_c + (w - 1) (\Delta_\perp + \eta \Delta_\parallel),

    with :math:`\Delta_\parallel` the part along :math:`D_c`. The momentum of the paper comes first,
    and is of the step: ``Momentum(DDIM(APG(...)), beta)``. Where noise is high, guidance overshoots
    along the prediction itself, which is what makes it gaudy. Costs what CFG does.

    The projection is about the centre of the data: a first prediction whose mean lies farther from
    it than half of its root mean square is warned of, once for each APG.

    Args:
        denoiser: a conditional denoiser.
        scale: w, a number, one per request (R,), or a function of the level; 1 is neutral.
        null: maps a condition to the null condition of the same batch size.
        eta: the share of the parallel part that is kept; 1 is neutral, and is CFG without a cap.
        radius: r, the longest push as a root mean square over entries; inf is no cap. Divide the
            radius of the paper by the root of the number of entries.
        dims: axes over which norms and products are taken, e.g. (-1,) for one per token; None =
            all but axis 0.
        centre: the mean of the data, a number or what broadcasts against x.

    Raises:
        ValueError: for a radius that is not positive, or axis 0 among ``dims``.

    Source: Sadat et al. 2025, Eliminating oversaturation and artifacts of high guidance scales in
        diffusion models (arXiv 2410.02416).
    Differs: about any centre; the radius is of the root mean square, so that it does not depend on
        the size of x.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        scale: Scale,
        null: Callable[[Any], Any],
        eta: float = 0.0,
        radius: float = math.inf,
        dims: Sequence[int] | None = None,
        centre: float | Tensor = 0.0,
    ) -> None:
        # Neutral ops are left out, so that what is left is CFG bit for bit.
        capped = () if radius == math.inf else (cap(radius, dims),)
        ops = capped if eta == 1 else (*capped, self._look, project(eta, dims, centre))
        super().__init__(denoiser, [Term(null_branch(null), scale, ops)])
        self.looked, self.centre = False, centre

    def _look(self, delta: Tensor, strong: Tensor, weak: Tensor) -> Tensor:
        """Leave the difference, and look at the first strong prediction that is projected on."""
        if not self.looked:
            # Once: a look at a tensor waits for the device.
            self.looked = True
            _warn_off_centre(strong - self.centre)
        return delta


def _warn_off_centre(x0: Tensor) -> None:
    x0 = x0.detach().double()
    mean, rms = x0.mean().item(), x0.square().mean().sqrt().item()
    if abs(mean) > OFF_CENTRE * rms:
        warnings.warn(
            f"APG projects about the centre of the data, from which the first prediction has the "
            f"mean {mean:.3g} at a root mean square of {rms:.3g}; give centre=, the mean of the "
            f"data, or eta=1 for no projection",
            stacklevel=3,
        )
