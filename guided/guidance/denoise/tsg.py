"""Time-step guidance: guided by the network under a noisy embedding of the noise level."""

import math

from torch import Tensor

from guided.denoiser import Denoiser
from guided.guidance.branches import perturbed
from guided.guidance.denoise.contrast import Contrast, Term
from guided.guidance.layers import chosen_layers
from guided.guidance.level_rng import level_rng
from guided.guidance.scale import Scale
from guided.nets.control import Control
from guided.schedule import Level


class TSG(Contrast):
    r"""Contrast with the network under a noisy embedding of the noise level.

    .. math:: \hat D = \tilde D + w (D - \tilde D), \qquad
              \tilde e = e + s\, t^a\, n, \quad n \sim N(0, I)

    To first order the mean of the push over n is 0: what is left is of second order in s, and the
    noise itself. n is drawn once for every level and is the same for all rows, because the denoise
    level has no rng: so a sample does not depend on its batch, and Heun's method sees one function.
    One stacked call of two rows a sample.

    Args:
        denoiser: of a network that embeds the noise level.
        scale: w, a number, one per request (R,), or a function of the level; 1 is neutral.
        noise: s, in units of the embedding; 0 is neutral.
        power: a.
        seed: of n.

    Raises:
        TypeError: for a denoiser that takes no control.
        ValueError: in the call, for a level that is not of floats.

    Source: Sadat et al. 2025, No training, no problem: rethinking classifier-free guidance for
        diffusion models, https://arxiv.org/abs/2407.02687.
    Differs: t in [0, 1], where theirs counts steps; all blocks see the noisy embedding.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        scale: Scale,
        noise: float = 1.0,
        power: float = 1.0,
        seed: int = 0,
    ) -> None:
        chosen_layers(denoiser, None, "TSG")
        if not math.isfinite(noise):
            raise ValueError(f"the noise of TSG is a finite number, 0 for none, got {noise}")

        def control(level: Level) -> Control:
            rng, size = level_rng(seed, level, "TSG"), noise * level.t**power
            drawn: list[Tensor] = []

            def embedded(e: Tensor) -> Tensor:
                # Once a call: the width is known here only, and chunks of rows share the noise.
                if not drawn:
                    drawn.append(rng.normal(e.shape[-1:], device=e.device))
                return e + size * drawn[0].to(e)

            return Control(embedding=embedded)

        super().__init__(denoiser, [Term(perturbed(control), scale)])
