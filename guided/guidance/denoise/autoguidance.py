"""Autoguidance: guided by a worse model of the same thing."""

from guided.denoiser import Denoiser
from guided.guidance.branches import network
from guided.guidance.denoise.contrast import Contrast, Term, require_schedule
from guided.guidance.scale import Scale


class Autoguidance(Contrast):
    r"""Contrast with a weaker network, given the same condition.

    .. math:: \hat D = D_0 + w (D_1 - D_0)

    The weak network is a smaller one, or an early snapshot of the same training, or both: its
    errors must be those of the strong one, only larger. Where both widen the data's law,
    :math:`N(0, s^2 + a^2)` and :math:`N(0, s^2 + b^2)` for :math:`N(0, s^2)`, the flow ends with
    variance :math:`(s^2 + a^2)^w (s^2 + b^2)^{1 - w}`, which is right for

    .. math:: w^* = 1 + \ln \frac{s^2 + a^2}{s^2} \Big/ \ln \frac{s^2 + b^2}{s^2 + a^2}.

    Two network calls, of which one is of the weak network.

    Args:
        denoiser: D_1.
        weak: D_0, of the same schedule.
        scale: w, a number, one per request (R,), or a function of the level; 1 is neutral.

    Raises:
        TypeError: for a weak network that is no denoiser.
        ValueError: for one of another schedule.

    Source: Karras et al. 2024, Guiding a diffusion model with a bad version of itself,
        https://arxiv.org/abs/2406.02507.
    """

    def __init__(self, denoiser: Denoiser, weak: Denoiser, scale: Scale) -> None:
        super().__init__(denoiser, [Term(network(weak), scale)])
        require_schedule(weak, denoiser)
        self.weak = weak
