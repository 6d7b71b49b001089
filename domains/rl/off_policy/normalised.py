r"""Is a density normalised? Two bets against it, settled by draws alone.

For independent draws of the reference, a density :math:`q \in [0, \tau]` that was fixed before
them, and :math:`m = \int q\, d\mu`:

.. math::
    W_t = \prod_{s \le t} (1 + \lambda_s (1 - q_s)), \qquad
    W'_t = \prod_{s \le t} (1 + \lambda'_s (q_s - 1/\kappa)).

With stakes :math:`\lambda \ge 0` that depend on earlier draws alone, and factors that stay
positive, W is a supermartingale if :math:`m \ge 1`, and W' is one if :math:`m \le 1/\kappa`. By
Ville's inequality it then ever reaches :math:`1/\alpha` with probability at most :math:`\alpha`.
Only one of the two can be the case, so that :math:`\alpha` need not be split.

Source: Rucker, Zhu, Mineiro 2023, https://arxiv.org/abs/2302.08551; Waudby-Smith, Ramdas 2023,
Estimating means of bounded random variables by betting, https://arxiv.org/abs/2010.09686.
Differs: they search all values of beta with one set of draws, as a confidence sequence. Here beta
is found on draws of its own, and only that one is tested.
"""

import math

import torch
from torch import Tensor


def certified(density: Tensor, tau: float, kappa: float, alpha: float) -> Tensor:
    r"""Return whether :math:`\int q\, d\mu` was shown to lie in [1/kappa, 1], (B,).

    It is True for a density whose integral does not lie there with probability at most alpha.

    Args:
        density: q of N independent draws of the reference, in the order drawn, (B, N).
        tau: bound of q, at least 1; q of 1 is normalised by its bound.
        kappa: more than 1.
        alpha: in (0, 1).
    """
    above = _wealth(density - 1 / kappa, kappa / 2)
    reached = above >= -math.log(alpha)
    if tau == 1:
        return reached
    return reached & (_wealth(1 - density, 0.5 / (tau - 1)) >= -math.log(alpha))


def _wealth(gains: Tensor, most: float) -> Tensor:
    """Return the largest log wealth over time, (B,), of bets on gains (B, N) being positive.

    The stake is the mean over the mean square of the gains so far (the best one for small stakes),
    between 0 and ``most``, at which no factor is less than a half.
    """
    sums = gains.cumsum(1) - gains
    squares = gains.square().cumsum(1) - gains.square()
    stakes = (sums / (1 + squares)).clamp(0, most)
    return torch.log1p(stakes * gains).cumsum(1).amax(1)
