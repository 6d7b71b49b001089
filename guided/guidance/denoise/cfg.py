r"""Classifier-free guidance."""

from collections.abc import Callable
from typing import Any

from guided.denoiser import Denoiser
from guided.guidance.denoise.contrast import Contrast


class CFG(Contrast):
    r"""Contrast with the same network under a null condition.

    .. math::
        \hat\varepsilon = \varepsilon(\varnothing)
            + w (\varepsilon(c) - \varepsilon(\varnothing))

    The null condition must be one that the network was trained with: a learned token, not zeros,
    which can collide with a real condition. For w other than 0 and 1 this does not sample
    :math:`p(x|c)^w p(x)^{1-w}`.

    Args:
        denoiser: a conditional denoiser.
        scale: w; 1 is the conditional model (no extra call), 0 the unconditional one. The scale s
            of the paper, and of others that count from the conditional model, is w - 1.
        null: maps a condition to the null condition of the same batch size.

    Source: Ho & Salimans 2022, Classifier-free diffusion guidance, eq. 6 (with w = 1 + their w).
    """

    def __init__(self, denoiser: Denoiser, scale: float, null: Callable[[Any], Any]) -> None:
        super().__init__(denoiser, scale, weak_cond=null)
