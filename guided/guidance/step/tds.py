r"""Twisted diffusion sampling: particles pulled by a gradient, and weighed for having been."""

import math
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from guided.denoiser import Prediction
from guided.energy import Energy, require_differentiable
from guided.guidance.step.drawing import require_kernel
from guided.guidance.step.smc import SMC, Weights
from guided.operator import Operator
from guided.rng import Rng
from guided.sampler import Gaussian, Sampler, State
from guided.schedule import Level

TwistKind = Literal["widened", "plain"]


class Pulled(NamedTuple):
    """What a particle carries between steps beside its weight.

    Args:
        inner: the memory of the sampler, a tree with axis 0 = particle.
        slope: the gradient of the twist's energy at the particle (B K, ...).
    """

    inner: Any
    slope: Tensor


class TDS(SMC):
    r"""SMC whose particles move towards low energy, and are weighed for having been moved.

    With the kernel's mean m and deviation v, and a twist :math:`e^{-U(x_t)}` that stands in for
    :math:`E[e^{-E(x_0)} \mid x_t]`,

    .. math::
        x_s &\sim q = N(m - v^2 \nabla U(x_t), v^2 I), \\
        w   &\leftarrow w\, \frac{N(x_s; m, v^2 I)\, e^{-U(x_s)}}{q(x_s)\, e^{-U(x_t)}},

    and U = E at data. The ``plain`` twist is :math:`U = E(x_0(x_t))`. It takes the clean estimate
    for the sample, which is far too sure of itself at high noise: where E is sharp its particles
    are thrown about and their weights are lost. The ``widened`` one knows the variance
    :math:`V = \tfrac{\sigma^2}{\alpha} \nabla x_0(x_t)` of x0 given x_t along the gradient g of E:

    .. math:: U = \frac{E}{1 + \kappa} + \tfrac12 \log(1 + \kappa), \qquad
              \kappa = \frac{g^T V g}{2 E},

    with energies counted from ``energy.least``. For one linear output with Gaussian noise and a
    Gaussian prior it is the exact :math:`-\log E[e^{-E} | x_t]` but for a constant; else it is a
    guess that the weights correct.

    Converges for either twist to p(x0) exp(-E(x0)), and exp(log_z) has the evidence as its
    expectation, as K grows, for an exact kernel (a stochastic sampler with many steps). The state's
    memory is that of :class:`SMC`. A step without noise (the one to data) is not moved.

    Costs one network call, one vector-Jacobian product of it and one gradient of the energy a step
    and particle (in the last step, only the energy; the first one evaluates it once more).

    Args:
        sampler: a stochastic sampler.
        energy: a differentiable energy, or operator, whose energy is its likelihood. +inf and NaN
            count as for :class:`SMC`; where the gradient is not finite a particle is not moved.
        particles: K, side by side in axis 0; with 1 it is plain guidance, and log_z still unbiased.
        twist: one of the above.
        share: resample where the effective size falls below this share of K.

    Raises:
        TypeError: for an energy that is a black box.
        ValueError: for a deterministic sampler, one whose step is more than a draw from its kernel,
            an unknown twist or numbers out of range.

    Source: Wu et al. 2023, Practical and asymptotically exact conditional sampling in diffusion
        models, algorithm 1 (arXiv 2306.17775).
    Differs: the widened twist. The authors' code moves x0 in the kernel's mean instead of the mean.
    """

    def __init__(
        self,
        sampler: Sampler,
        energy: Energy | Operator,
        particles: int,
        twist: TwistKind = "widened",
        share: float = 0.5,
    ) -> None:
        super().__init__(sampler, energy, particles, share=share)
        require_kernel("TDS", sampler)
        require_differentiable(self.energy, "TDS")
        if twist not in ("widened", "plain"):
            raise ValueError(f"unknown twist {twist!r}; expected 'widened' or 'plain'")
        self.twist = twist

    def step(self, state: State, t: Level, s: Level, cond: Any, rng: Rng) -> State:
        """Move from t to s down the twist, weigh, and resample where the weights are uneven."""
        weights: Weights = state.memory or self._start(state.x)
        pulled: Pulled | None = weights.inner
        prediction = state.prediction
        if prediction is None or pulled is None:
            prediction, _, slope = self._twisted(state.x, t, cond)
            pulled = Pulled(None, slope)
        x, log_ratio = drawn(self.kernel(prediction, t, s, pulled.inner), pulled.slope, rng)
        last = s.sigma == 0
        if last:
            ahead, energy, slope = None, self.energy(x, cond), pulled.slope
        else:
            ahead, energy, slope = self._twisted(x, s, cond)
        energy = energy.double().nan_to_num(nan=math.inf, posinf=math.inf)
        if not last:
            energy = self._bounded(energy)
        weights = replace(
            weights,
            inner=Pulled(self.remember(prediction, t), slope),
            steps=weights.steps + 1,
            log_weights=weights.log_weights + log_ratio.reshape_as(weights.log_weights),
        )
        weights = self._weighed(weights, energy, last)
        return self._resampled(State(x, ahead, weights, energy.to(x.dtype)), weights, last, rng)

    def _twisted(self, x: Tensor, level: Level, cond: Any) -> tuple[Prediction, Tensor, Tensor]:
        """Return the prediction at x, and U (B,) with its gradient (B, ...) for constant kappa."""
        with torch.enable_grad():
            z = x.detach().requires_grad_()
            prediction = self.denoiser(z, level, cond)
            energy = self.energy(prediction.x0, cond)
            g, slope = torch.autograd.grad(energy.sum(), (prediction.x0, z))
        prediction, energy = Prediction(*(part.detach() for part in prediction)), energy.detach()
        if self.twist == "widened" and level.alpha > 0:
            spread = level.sigma**2 / level.alpha * (g * slope).flatten(1).sum(1)
            least = self.energy.least
            # Without a misfit there is nothing to widen, and V of a network may be negative.
            kappa = (spread / (2 * (energy - least))).nan_to_num(0.0, 0.0, 0.0).clamp(min=0)
            energy = least + (energy - least) / (1 + kappa) + 0.5 * torch.log1p(kappa)
            slope = slope / (1 + kappa).to(slope.dtype).reshape(-1, *[1] * (x.ndim - 1))
        return prediction, energy, slope.nan_to_num(0.0, 0.0, 0.0)


def drawn(kernel: Gaussian, slope: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
    """Draw x_s down the slope; return it with log(kernel / proposal) (B,), in float64.

    The ratio is formed from the move and the noise that was drawn, in units of the kernel's
    deviation: the difference of two log densities would lose it at low noise.
    """
    if kernel.std == 0:
        still = torch.zeros(len(slope), dtype=torch.float64, device=slope.device)
        return kernel.sample(1, rng), still
    proposal = Gaussian(torch.sub(kernel.mean, slope, alpha=kernel.std**2), kernel.std)
    x = proposal.sample(1, rng)
    noise = (x - proposal.mean).double().flatten(1) / kernel.std
    move = (proposal.mean - kernel.mean).double().flatten(1) / kernel.std
    return x, -(move * (noise + move / 2)).sum(1)
