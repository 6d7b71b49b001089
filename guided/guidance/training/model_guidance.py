r"""MG: a network trained to give the guided prediction itself, so that a run costs one call.

With o the network's own output, under a condition c or the null condition, and y the target of
plain training, the new target is

.. math:: y + s\, \mathrm{sg}[o(c) - o(\varnothing)], \qquad s = 1 - 1 / w.

The mean of y is e(c), the output of plain training. Where o is its own target's mean,

.. math:: o(c) - o(\varnothing) = \frac{e(c) - e(\varnothing)}{1 - s}, \qquad
          o(c) = e(\varnothing) + w\, [e(c) - e(\varnothing)],

which is CFG of scale w. Rows under the null condition keep y. It is one method in eps, x0, v and
flow, because all of them are affine in x0.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from guided.denoiser import NetDenoiser
from guided.rng import Rng


def mg_loss(
    denoiser: NetDenoiser,
    x0: Tensor,
    cond: Any,
    rng: Rng,
    scale: float,
    null: Callable[[Any], Any],
) -> Tensor:
    """Return the loss of every sample at a random level.

    Args:
        denoiser: what is trained.
        x0: clean samples (B, ...).
        cond: their conditions, some of them null (see :func:`dropped`), or the network does not
            know the null condition.
        rng: draws the level and the noise.
        scale: w, above 1/2; 1 is neutral (plain training). Large ones converge slowly, since the
            error of the difference shrinks by 1 - 1 / w.
        null: maps a condition to the null condition of the same batch size.

    Returns:
        Shape (B,).

    Raises:
        ValueError: for a scale of 1/2 or less, where the target runs away from its network.

    Source: Tang et al. 2025, Diffusion models without classifier-free guidance, arXiv 2502.12154.
    Differs: the source's scale is s; here it is that of the CFG which training converges to.
    """
    if not scale > 0.5:
        raise ValueError(
            f"model guidance converges for scales above 0.5, got {scale}; 1 is plain training"
        )
    if scale == 1:
        return denoiser.loss(x0, cond, rng)
    shown = denoiser.example(x0, rng)
    own = denoiser.output(shown.x, shown.level, cond)
    with torch.no_grad():
        weak = denoiser.output(shown.x, shown.level, null(cond))
    target = shown.target + (1 - 1 / scale) * (own.detach() - weak)
    return (own - target).square().flatten(1).mean(1)
