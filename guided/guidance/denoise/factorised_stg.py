"""Skip guidance by two kinds of blocks, what they share counted once."""

from collections.abc import Iterable, Sequence

from torch import Tensor

from guided.denoiser import Denoiser, Prediction
from guided.guidance.denoise.contrast import Contrast, Pair, Term
from guided.guidance.denoise.stg import skipped
from guided.guidance.layers import chosen_layers
from guided.guidance.ops import project
from guided.guidance.scale import Scale
from guided.schedule import Level


class FactorisedSTG(Contrast):
    r"""Skips two kinds of blocks, each with its own scale and what they share counted once.

    .. math::
        \hat D = D + (w_1 - 1) \Delta_1 + (w_2 - 1) \Big( \Delta_2
            - \frac{\langle \Delta_1, \Delta_2 \rangle}{\|\Delta_1\|^2} \Delta_1 \Big)

    with :math:`\Delta_i` the strong prediction of x0 minus that without the blocks i, such as those
    that mix the places and those that mix the times of a film. Norms are over all axes of a sample.
    Where one scale is 1, the other's delta is what it is alone. One stacked call of three rows a
    sample.

    Args:
        denoiser: of a network of residual blocks.
        scales: w_1 and w_2; 1 is neutral.
        layers: the blocks 1 and the blocks 2.
        keep: rho in [0, 1], the share of the blocks that is kept; 1 is neutral.

    Raises:
        TypeError: for a denoiser that takes no control.
        ValueError: for blocks that do not exist, other numbers than two, or a share out of its
            range.

    Source: Hyung et al. 2025, Spatiotemporal skip guidance, https://arxiv.org/abs/2411.18664.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        scales: Sequence[Scale],
        layers: Sequence[Iterable[int] | int],
        keep: float = 0.0,
    ) -> None:
        if len(scales) != 2 or len(layers) != 2:
            raise ValueError(
                f"FactorisedSTG needs two scales and two sets of layers, got {len(scales)} and "
                f"{len(layers)}; for one kind of blocks use STG"
            )
        chosen = [chosen_layers(denoiser, own, "FactorisedSTG") for own in layers]
        pairs = zip(chosen, scales, strict=True)
        super().__init__(denoiser, [Term(skipped(own, keep), scale) for own, scale in pairs])

    def combine(
        self,
        level: Level,
        strong: Prediction,
        pairs: Sequence[Pair],
        deltas: Sequence[Tensor] | None = None,
    ) -> Prediction:
        """Return the guided prediction, the second delta without its part along the first."""
        if len(pairs) == 2:
            given = deltas or [p.term.delta(p.strong, p.weak, level) for p in pairs]
            deltas = [given[0], project()(given[1], given[0], given[0])]
        return super().combine(level, strong, pairs, deltas)
