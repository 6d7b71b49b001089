r"""Guidance on the estimated clean manifold: bounded gradient steps on the clean estimate."""

import math

from torch import Tensor

from guided.denoiser import Denoiser
from guided.energy import Energy
from guided.guidance.clip import clipped, require_clip
from guided.guidance.denoise.mpgd import MPGD
from guided.operator import Operator


class ECM(MPGD):
    r"""Moves every entry of the clean estimate down the energy by at most a bound.

    .. math:: \hat x_0 = x_0 - \mathrm{clip}(w \nabla E(x_0), -\tau, \tau), \qquad
              \hat\varepsilon = \varepsilon.

    It is :class:`MPGD` with a clip, and shares its bias: an optimiser, no sampler of a posterior.
    The clip lets a steep energy have a large scale. An entry depends on its own gradient alone, and
    a sample on no other sample.

    A sampler may run in coordinates u with y = mean + spread * u (see
    :class:`guided.GaussianPrior`). Scale and clip keep their meaning in the y of the energy with

    .. math:: \hat u_0 = u_0 - \frac{1}{\mathrm{spread}}\,
              \mathrm{clip}\Big(\frac{w}{\mathrm{spread}} \frac{dE}{du_0}, -\tau, \tau\Big).

    The prediction of the last step is the sample, so its move leaves the model's manifold by up to
    the clip. To leave that one alone, limit the method to levels above the last that a run predicts
    at, which is that of ``times[-2]``::

        last = schedule.levels(times)[-2].noise_to_signal
        Between(ECM(denoiser, energy), low=last)

    Costs one gradient of the energy a call; none passes through the denoiser.

    Args:
        denoiser: the model.
        energy: differentiable, of clean samples in the sampler's coordinates (in u a
            :class:`guided.Decoded`); or an operator, whose energy is its likelihood.
        scale: w, in units of y squared per unit of energy; 0 is neutral and takes no gradient.
        clip: tau, the longest move of an entry, in units of y; inf is no bound.
        spread: the length in y of a unit of the sampler's coordinates, positive: a number, or a
            tensor that broadcasts against x (B, ...). 1 where the sampler's are those of y.

    Raises:
        TypeError: for an energy that is a black box.
        ValueError: for a clip or a spread that is not positive.

    Source: Wang et al. 2024, Optimizing diffusion models for joint trajectory prediction and
        controllable generation (arXiv 2408.00766), and its code.
    Differs: the energies of a batch are summed, where the code averages over samples and agents,
        which makes a step shorter the more are sampled together. The last step is guided by
        default, as there.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        energy: Energy | Operator,
        scale: float = 1.0,
        clip: float = 1.0,
        spread: float | Tensor = 1.0,
    ) -> None:
        super().__init__(denoiser, energy, scale)
        require_clip(clip, type(self).__name__)
        least = float(spread.min()) if isinstance(spread, Tensor) else spread
        if not 0 < least < math.inf:
            raise ValueError(
                f"{type(self).__name__} needs a spread of positive lengths, got a least one of "
                f"{least}; give 1 where the sampler runs in the coordinates of the energy"
            )
        self.clip, self.spread = clip, spread

    def move(self, slope: Tensor) -> Tensor:
        """Return what to take off the clean estimate for a gradient (B, ...), both in u."""
        spread = self.spread.to(slope) if isinstance(self.spread, Tensor) else self.spread
        return clipped(self.scale / spread * slope, self.clip) / spread
