"""Diffusion forcing: every token has a noise level of its own, and noise can hide any token."""

from typing import Any

from torch import Tensor

from guided.denoiser import NetDenoiser
from guided.rng import Rng


def forcing_loss(
    denoiser: NetDenoiser, x0: Tensor, cond: Any, rng: Rng, weight: Tensor | None = None
) -> Tensor:
    """Return the loss of every sample, each token of it at a random level of its own.

    The loss is on all tokens. Such a network predicts any tokens from any others at any noise,
    which :class:`guided.guidance.HistoryGuidance` needs.

    Args:
        denoiser: of a network that takes times (B, T), such as :class:`guided.nets.Transformer`.
        x0: clean samples (B, T, ...), axis 1 the tokens.
        cond: their conditions.
        rng: draws the levels (B, T) and the noise.
        weight: see :meth:`NetDenoiser.loss`.

    Returns:
        Shape (B,).

    Raises:
        ValueError: for samples without tokens.

    Source: Chen et al. 2024, Diffusion forcing, algorithm 1; Song et al. 2025, History-guided video
        diffusion (no causal mask).
    """
    if x0.ndim < 3:
        raise ValueError(
            f"diffusion forcing needs samples of tokens (B, T, ...) with an axis after T, got "
            f"{tuple(x0.shape)}"
        )
    return denoiser.loss(x0, cond, rng, weight, axes=2)
