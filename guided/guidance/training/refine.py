r"""NoiseRefine: noise from which the unguided run ends where the guided one would have.

.. math:: g_\phi(x_T) = x_T + \sigma_T\, f_\phi(x_T / \sigma_T, c), \qquad
          \min_\phi \lVert U(g_\phi(x_T)) - G(x_T) \rVert^2,

U and G the deterministic runs without and with guidance. For a linear Gaussian model both are
affine, and the best g is :math:`U^{-1} \circ G`.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from guided.guidance.training.silent import silenced
from guided.rng import Rng
from guided.sampler import Sampler
from guided.train import Loss


class NoiseRefiner(nn.Module):
    """The map g, the identity before training.

    Args:
        net: f, a network ``net(x, time, cond)`` of :mod:`guided.nets`; its last layer is set to
            zero.
        sigma: sigma at the start of the runs.
    """

    def __init__(self, net: nn.Module, sigma: float) -> None:
        super().__init__()
        self.net, self.sigma = silenced(net), sigma

    def forward(self, x: Tensor, cond: Any = None) -> Tensor:
        """Return the refined noise of x_T (B, ...)."""
        return x + self.sigma * self.net(x / self.sigma, x.new_ones(len(x)), cond)


class NoiseRefine:
    """Runs a sampler from refined noise: one call a step, and one of the refiner.

    What it samples is a deterministic map of the noise, which no longer has a normal law: methods
    that reweigh or renoise x_T do not go with it.

    Args:
        sampler: unguided and deterministic.
        refiner: trained by ``refine_loss`` on runs of this schedule that start where these do.

    Raises:
        ValueError: for a stochastic sampler, whose noise washes x_T out.

    Source: Ahn et al. 2024, A noise is worth diffusion guidance.
    """

    def __init__(self, sampler: Sampler, refiner: NoiseRefiner) -> None:
        _require_deterministic(sampler)
        self.sampler, self.refiner = sampler, refiner

    def sample(self, x: Tensor, times: Sequence[float], cond: Any = None, *, rng: Rng) -> Tensor:
        """Return x_0 (B, ...).

        Args:
            x: x_T (B, ...).
            times: decreasing times.
            cond: any tree of tensors with leading axis B.
            rng: the source of all randomness.

        Raises:
            ValueError: for times that start at another noise than the refiner was made for.
        """
        _require_start(self.sampler, self.refiner, times)
        with torch.no_grad():
            refined = self.refiner(x, cond)
        return self.sampler.sample(refined, times, cond, rng=rng)


def refine_loss(refiner: NoiseRefiner, sampler: Sampler, times: Sequence[float]) -> Loss:
    r"""Return the loss of a refiner, for batches (x_T, {"end": G(x_T), "cond": conditions}).

    Multistep score distillation: the run is not differentiated. The Jacobian of the unguided run is
    taken for the identity, so that the gradient in g is that of its end,

    .. math:: \nabla_\phi = 2\, [U(g) - G(x_T)]^T\, \partial g / \partial \phi.

    Args:
        refiner: what is trained.
        sampler: unguided and deterministic.
        times: of its run; few steps do.

    Raises:
        ValueError: for a stochastic sampler, or times that start at another noise.

    Source: Ahn et al. 2024, A noise is worth diffusion guidance (multistep score distillation).
    Differs: without the denoiser's Jacobian the run's own is :math:`\alpha_0 / \alpha_T` times the
        identity; this constant is left out, for it is infinite where a schedule ends in pure noise.
    """
    _require_deterministic(sampler)
    _require_start(sampler, refiner, times)

    def loss(x: Tensor, given: Any, rng: Rng) -> Tensor:
        start = refiner(x, given["cond"])
        end = sampler.sample(start.detach(), times, given["cond"], rng=rng)
        through = start + (end - start).detach()
        return (through - given["end"]).square().flatten(1).mean(1)

    return loss


def _require_deterministic(sampler: Sampler) -> None:
    if sampler.stochastic:
        raise ValueError(
            f"refined noise needs a deterministic sampler, got a stochastic "
            f"{type(sampler).__name__}, which washes it out; use one with eta=0"
        )


def _require_start(sampler: Sampler, refiner: NoiseRefiner, times: Sequence[float]) -> None:
    sigma = sampler.denoiser.schedule.level(times[0]).sigma
    if abs(sigma - refiner.sigma) > 1e-6 * refiner.sigma:
        raise ValueError(
            f"the refiner is of noise of sigma = {refiner.sigma:g}, but the run starts at "
            f"{sigma:g}; start where it was trained"
        )
