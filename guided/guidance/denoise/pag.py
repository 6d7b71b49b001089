"""Perturbed-attention guidance: guided by the network with an attention map spoilt."""

from collections.abc import Iterable
from typing import Literal, get_args

from guided.denoiser import Denoiser
from guided.guidance.branches import perturbed
from guided.guidance.denoise.contrast import Contrast, Term
from guided.guidance.layers import chosen_layers
from guided.guidance.scale import Scale
from guided.nets.attention import AttentionControl
from guided.nets.control import Control

Perturbation = Literal["identity", "drop", "soft"]


class PAG(Contrast):
    r"""Contrast with the same network, in some blocks of which tokens do not see each other.

    .. math:: \hat D = \tilde D + w (D - \tilde D)

    ============  ==========================================================================
    mode          the attention map A of the blocks becomes
    ============  ==========================================================================
    ``identity``  I: the method of the source
    ``drop``      0: attention adds nothing
    ``soft``      (1 - u) A + u I
    ============  ==========================================================================

    One stacked call of two rows a sample. With CFG side by side:
    ``together(CFG(net, 4.0, null), PAG(net, 4.0))``, three rows.

    Args:
        denoiser: of a network with self-attention.
        scale: w, a number, one per request (R,), or a function of the level; 1 is neutral. The
            scale s of the source is w - 1: :func:`guided.guidance.scale.from_s`.
        layers: indices of the blocks; None = the middle one.
        mode: see above.
        amount: u in [0, 1], for ``soft`` alone; 0 is neutral, 1 is ``identity``.

    Raises:
        TypeError: for a denoiser that takes no control.
        ValueError: for blocks that do not exist, an unknown mode, or an amount out of its range.

    Source: Ahn et al. 2024, Self-rectifying diffusion sampling with perturbed-attention guidance,
        https://arxiv.org/abs/2403.17377 (with w = 1 + their s).
    """

    def __init__(
        self,
        denoiser: Denoiser,
        scale: Scale,
        layers: Iterable[int] | int | None = None,
        mode: Perturbation = "identity",
        amount: float | None = None,
    ) -> None:
        if mode not in get_args(Perturbation):
            raise ValueError(f"unknown mode {mode!r} of PAG; expected 'identity', 'drop' or 'soft'")
        if (amount is not None) != (mode == "soft"):
            raise ValueError(
                f"PAG takes an amount in [0, 1] for the mode 'soft' and none for the others, got "
                f"mode={mode!r} and amount={amount}"
            )
        chosen = chosen_layers(denoiser, layers, "PAG")
        attention = AttentionControl(chosen, mode, 1.0 if amount is None else amount)
        super().__init__(denoiser, [Term(perturbed(Control(attention)), scale)])
