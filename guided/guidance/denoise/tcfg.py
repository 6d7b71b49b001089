"""Tangential damping: the unconditional prediction without what the conditional one disowns."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from guided.denoiser import Denoiser
from guided.guidance.branches import null as null_branch
from guided.guidance.denoise.contrast import Contrast, Term
from guided.guidance.scale import Scale
from guided.guidance.space import Space


class TCFG(Contrast):
    r"""Classifier-free guidance away from the unconditional noise along one common direction.

    .. math::
        (\varepsilon_c, \varepsilon_\varnothing)^T = U S V^T, \qquad
        \varepsilon'_\varnothing = \langle \varepsilon_\varnothing, v_1 \rangle v_1, \qquad
        \hat\varepsilon = \varepsilon'_\varnothing + w (\varepsilon_c - \varepsilon'_\varnothing),

    with v_1 the first right singular vector of the two predictions of a sample, as two rows. It
    follows from their 2 x 2 Gram matrix; no singular value decomposition is made.

    Args:
        denoiser: a conditional denoiser.
        scale: w, a number, one per request (R,), or a function of the level; 1 is neutral.
        null: maps a condition to the null condition of the same batch size.
        space: where the direction is found; the paper's is ``eps``, which needs alpha > 0.

    Source: Kwon et al. 2025, TCFG: Tangential damping classifier-free guidance (arXiv
        2503.18137).
    """

    def __init__(
        self,
        denoiser: Denoiser,
        scale: Scale,
        null: Callable[[Any], Any],
        space: Space = "eps",
    ) -> None:
        super().__init__(denoiser, [Term(null_branch(null), scale, (_damped,), space)])


def _damped(delta: Tensor, strong: Tensor, weak: Tensor) -> Tensor:
    r"""Replace the weak prediction by its part along v_1, by what it adds to the difference.

    With (p, q) the leading unit eigenvector of the Gram matrix, :math:`v_1 = (p c + q u) / s_1` and
    :math:`\langle u, v_1 \rangle = s_1 q`, so that the part is :math:`q (p c + q u)`.
    """
    over = tuple(range(1, delta.ndim))
    c, u = strong.double(), weak.double()
    cc, cu, uu = ((a * b).sum(over, keepdim=True) for a, b in ((c, c), (c, u), (u, u)))
    # The eigenvector lies at half this angle; of it only p q and q^2 are needed.
    double = torch.atan2(2 * cu, cc - uu)
    pq, qq = double.sin() / 2, (1 - double.cos()) / 2
    return (delta + u - (pq * c + qq * u)).to(delta)
