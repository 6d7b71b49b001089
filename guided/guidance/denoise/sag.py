"""Self-attention guidance: guided by what it makes of a sample, blurred where it looks."""

from functools import partial

import torch

from guided.denoiser import Denoiser, Prediction
from guided.guidance.branches import Call, Following, received, watched
from guided.guidance.denoise.contrast import Contrast, Term
from guided.guidance.layers import chosen_layers
from guided.guidance.scale import Scale
from guided.guidance.tokens import Blur, Spread, laid, saliency, token_axes
from guided.nets.attention import smoothed


class SAG(Contrast):
    r"""Contrast with the same network at a sample that is blurred where attention looks most.

    .. math::
        a_j &= \sum_q \frac1H \sum_h A_{h, q j}, \qquad M_j = [a_j > 1] \\
        \tilde x &= x + \alpha\, M \odot (\mathrm{blur}(\hat x_0) - \hat x_0) \\
        \hat\varepsilon &= \varepsilon(\tilde x) + w (\varepsilon(x) - \varepsilon(\tilde x))

    with A the attention map of one block, whose :math:`a_j` are 1 on average. The blurred sample
    needs the strong prediction, so the weak branch is a network call of its own.

    Tokens lie on the first axes of a sample, (B, tokens, C), or are patches of the last ones,
    (B, C, places), as in an image; other samples bring their ``spread`` and ``blur``. A blur must
    make a sample worse in the way that a network errs, and of the same kind: that of a binary roll
    or of a one-hot vector is none.

    Args:
        denoiser: of a network with self-attention over more than one token.
        scale: w, a number, one per request (R,), or a function of the level; 1 is neutral. The
            scale s of the source's tables is w - 1.
        layer: the block whose attention is watched; None = the middle one.
        blur: maps x0 (B, ...) to a worse one of its shape, row by row, e.g.
            :func:`blurred_rows`; None is a Gaussian of 3 places over the axes of the tokens.
        spread: maps (numbers of tokens (B, T), their grid, x) to what broadcasts against x; None is
            as above.

    Raises:
        TypeError: for a denoiser that takes no control.
        ValueError: for a block that does not exist, or a spread without a blur; in the call, for
            one token, or tokens that do not lie on x.

    Source: Hong et al. 2023, Improving sample quality of diffusion models using self-attention
        guidance, https://arxiv.org/abs/2210.00939.
    Differs: with CFG beside it, the watched branch is the conditional one.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        scale: Scale,
        layer: int | None = None,
        blur: Blur | None = None,
        spread: Spread | None = None,
    ) -> None:
        if spread is not None and blur is None:
            raise ValueError(
                "SAG was told where tokens lie on x, but not how x is blurred there; give a blur "
                "beside the spread, e.g. blurred_rows(3.0, axes)"
            )
        chosen = chosen_layers(denoiser, layer, "SAG")
        following = Following(partial(_degraded, min(chosen), blur, spread or laid))
        # In eps: the weak branch is at another x, to which its x0 belongs.
        super().__init__(denoiser, [Term(following, scale, space="eps")], strong=watched(chosen))


def _degraded(
    layer: int, blur: Blur | None, spread: Spread, call: Call, strong: Prediction
) -> Call:
    maps = received(call)
    seen = saliency(maps.found[layer])
    # More than the rounding of the sum, so that even attention has no part above its average.
    margin = seen.shape[-1] * torch.finfo(seen.dtype).eps
    mask = spread((seen > 1 + margin).to(call.x), maps.grid, call.x)
    worse = blur(strong.x0) if blur else smoothed(strong.x0, 3.0, token_axes(maps.grid, call.x))
    x = call.x + call.level.alpha * mask * (worse - strong.x0)
    return call._replace(x=x, control=None)
