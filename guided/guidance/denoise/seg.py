"""Smoothed-energy guidance: guided by the network with blurred queries."""

import math
from collections.abc import Iterable

from guided.denoiser import Denoiser
from guided.guidance.branches import perturbed
from guided.guidance.denoise.contrast import Contrast, Term
from guided.guidance.layers import chosen_layers
from guided.guidance.scale import Scale
from guided.nets.attention import AttentionControl
from guided.nets.control import Control


class SEG(Contrast):
    r"""Contrast with the same network, whose attention has queries blurred over the tokens' grid.

    .. math:: \hat D = \tilde D + w (D - \tilde D), \qquad
              \tilde A = \mathrm{softmax}(G_\sigma(Q) K^T / \sqrt D)

    One stacked call of two rows a sample.

    Args:
        denoiser: of a network with self-attention.
        scale: w, a number, one per request (R,), or a function of the level; 1 is neutral.
        sigma: of the Gaussian, in tokens; towards 0 it is neutral, math.inf gives every token the
            mean query.
        layers: indices of the blocks; None = the middle one.

    Raises:
        TypeError: for a denoiser that takes no control.
        ValueError: for blocks that do not exist, or a sigma that is not above 0.

    Source: Hong 2024, Smoothed energy guidance, https://arxiv.org/abs/2408.00760.
    Differs: the weak branch keeps its condition; at the grid's edge the Gaussian is cut off and
        normalised again.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        scale: Scale,
        sigma: float = math.inf,
        layers: Iterable[int] | int | None = None,
    ) -> None:
        attention = AttentionControl(chosen_layers(denoiser, layers, "SEG"), "blur", sigma)
        super().__init__(denoiser, [Term(perturbed(Control(attention)), scale)])
