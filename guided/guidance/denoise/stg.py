"""Spatio-temporal skip guidance: guided by the network with blocks left out."""

from collections.abc import Iterable

from guided.denoiser import Denoiser
from guided.guidance.branches import Weak, perturbed
from guided.guidance.denoise.contrast import Contrast, Term
from guided.guidance.layers import chosen_layers
from guided.guidance.scale import Scale
from guided.nets.control import Control, Skip


class STG(Contrast):
    r"""Contrast with the same network, some blocks of which are skipped.

    .. math:: \hat D = \tilde D + w (D - \tilde D), \qquad h \leftarrow h + \rho (f(h) - h)

    The same as skip-layer guidance. One stacked call of two rows a sample. The variant that makes
    attention the identity instead of skipping is :class:`guided.guidance.PAG`.

    Args:
        denoiser: of a network of residual blocks.
        scale: w, a number, one per request (R,), or a function of the level; 1 is neutral.
        layers: indices of the blocks; None = the middle one. Without the first or the last one a
            network predicts nonsense, so they are never the default.
        keep: rho in [0, 1], the share of the block that is kept; 1 is neutral, 0 skips it. In a
            network of few blocks, skip in part.

    Raises:
        TypeError: for a denoiser that takes no control.
        ValueError: for blocks that do not exist, a network without one in the middle, or a share
            out of its range.

    Source: Hyung et al. 2025, Spatiotemporal skip guidance, https://arxiv.org/abs/2411.18664
        (with w = 1 + their scale).
    Differs: skipping in part; no rescaling of the result, which in the source couples samples.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        scale: Scale,
        layers: Iterable[int] | int | None = None,
        keep: float = 0.0,
    ) -> None:
        chosen = chosen_layers(denoiser, layers, "STG")
        if layers is None and denoiser.layers < 3:
            raise ValueError(
                f"STG skips a block between the first and the last, but the network has "
                f"{denoiser.layers}; name the layers, and keep a share of them (keep=0.5)"
            )
        super().__init__(denoiser, [Term(skipped(chosen, keep), scale)])


def skipped(layers: frozenset[int], keep: float) -> Weak:
    """Return the branch without some blocks, but for a share of them."""
    return perturbed(Control(skip=Skip(layers, keep)))
