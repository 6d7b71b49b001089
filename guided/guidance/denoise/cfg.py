r"""Classifier-free guidance, with one condition or several nested ones."""

from collections.abc import Callable, Sequence
from typing import Any

from guided.denoiser import Denoiser
from guided.guidance.branches import null as null_branch
from guided.guidance.denoise.contrast import Contrast, Term
from guided.guidance.scale import Scale


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
        scale: w, a number, one per request (R,), or a function of the level; 1 is the conditional
            model (no extra work), 0 the unconditional one. The scale s of the paper, and of others
            that count from the conditional model, is w - 1.
        null: maps a condition to the null condition of the same batch size.

    Source: Ho & Salimans 2022, Classifier-free diffusion guidance, eq. 6 (with w = 1 + their w).
    """

    def __init__(self, denoiser: Denoiser, scale: Scale, null: Callable[[Any], Any]) -> None:
        super().__init__(denoiser, [Term(null_branch(null), scale)])


class NestedCFG(Contrast):
    r"""Several conditions, each with its own scale, dropped one after the other.

    .. math:: \hat D = D(\varnothing) + \sum_k w_k\,
              [D(c_1, \dots, c_k) - D(c_1, \dots, c_{k-1})]

    All scales 1 is the fully conditional model; w_k = 0 for the last ones ignores those conditions.
    A network call evaluates one branch more than there are conditions. The order matters.

    Args:
        denoiser: a conditional denoiser.
        scales: w_1, ..., w_K.
        nulls: maps a condition to one without c_k, ..., c_K, for k = 1, ..., K: the first entry
            drops all of them, the last one c_K alone.

    Raises:
        ValueError: for other numbers of scales and null conditions.

    Source: Brooks et al. 2023, InstructPix2Pix, eq. 3; Yang et al. 2024, Camera motion guidance.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        scales: Sequence[Scale],
        nulls: Sequence[Callable[[Any], Any]],
    ) -> None:
        if len(scales) != len(nulls) or not scales:
            raise ValueError(
                f"NestedCFG needs one scale for every condition that is dropped, got {len(scales)} "
                f"scales and {len(nulls)} null conditions"
            )
        weak = [null_branch(drop) for drop in nulls]
        strong = [*weak[1:], None]
        # D(c_1..c_K) + sum_k (w_k - 1) [D(c_1..c_k) - D(c_1..c_{k-1})], the chain telescoped.
        terms = [Term(w, s, strong=up) for w, s, up in zip(weak, scales, strong, strict=True)]
        super().__init__(denoiser, terms)
