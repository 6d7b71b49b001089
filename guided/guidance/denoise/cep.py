r"""CEP: an energy of noisy samples, learned by contrast so that guidance by it is exact.

For the target :math:`p_0 \propto q_0 e^{-E}` the score of the noised target is that of q plus the
gradient of :math:`f(x_t, t) = \log E_q[e^{-E(x_0)} | x_t]`, up to a constant in (t, cond). An
energy network f learns it from samples of q and their energies. Rivals that are often used in its
place are options of the same loss, and are exact only for a linear energy.

========  ==================================================================================
target    loss, and what minimises it
========  ==================================================================================
``self``  :math:`-\sum_i w_i \log \mathrm{softmax}_i f`, w the softmax of -E over the K
          samples: the code of the source; biased at small K
``raw``   the same with :math:`w_i = e^{-E_i - c} / K`: exact for every K >= 2
``mse``   regression of f on -E: its minimiser is the mean of -E given x_t, not f
``emse``  regression of exp f on :math:`e^{-E - c}`: exact, but blind where that is small
========  ==================================================================================

c is the log of the mean of exp(-E) over earlier batches.
"""

import math
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import softmax

from guided.denoiser import Denoiser
from guided.guidance.denoise.classifier import ClassifierGuidance
from guided.guidance.denoise.energy_net import EnergyNet
from guided.rng import Rng

Target = Literal["self", "raw", "mse", "emse"]

MEMORY = 0.01  # least weight of a new batch in the running log-normaliser


class CEP(ClassifierGuidance):
    r"""Guidance by an energy net: exact where the net is, at scale 1.

    .. math:: \hat x_0 = x_0 + w \frac{\sigma_t^2}{\alpha_t} \nabla f(x_t, t, c), \qquad
              \hat\varepsilon = \varepsilon - w \sigma_t \nabla f(x_t, t, c)

    Args:
        denoiser: the model of q(x0).
        energy: an :class:`EnergyNet` trained by :func:`cep_loss`.
        scale: w, a number or one per request (R,), each serving B / R rows side by side; 0 is
            neutral and never calls the network. Other values than 0 and 1 sharpen or soften, and
            sample no known density.

    Raises:
        TypeError: for an energy of another kind.
        ValueError: for a scale per request that does not divide the batch.

    Source: Lu et al. 2023, Contrastive energy prediction for exact energy-guided diffusion
        sampling in offline reinforcement learning, eq. 10 and 12.
    """

    def __init__(self, denoiser: Denoiser, energy: EnergyNet, scale: float | Tensor = 1.0) -> None:
        if not isinstance(energy, EnergyNet):
            raise TypeError(
                f"CEP needs an EnergyNet, which learns -E of noisy samples, got "
                f"{type(energy).__name__}; other noise-aware energies go into ClassifierGuidance"
            )
        super().__init__(denoiser, energy, scale)


def cep_loss(
    model: EnergyNet,
    x0: Tensor,
    energies: Tensor,
    cond: Any,
    rng: Rng,
    target: Target = "self",
    t_min: float = 1e-3,
) -> Tensor:
    r"""Return the loss of the energy net for each condition, at one time t shared by its samples.

    The targets are listed at the top of this module. A condition whose energies lie above those of
    others weighs less; subtract what is common to a condition first, but not what these samples
    themselves tell of it, or ``raw`` turns into ``self``.

    Args:
        model: the energy net; ``raw`` and ``emse`` in training mode update its normaliser.
        x0: K samples of q for each of B conditions, (B, K, ...); K = 1 only for the regressions.
        energies: E of each, (B, K), the temperature included.
        cond: conditions with leading axis B, or None.
        rng: draws times and noise.
        target: which of these.
        t_min: the least time.

    Returns:
        Shape (B,).

    Raises:
        ValueError: for an unknown target, shapes that do not match, or a contrast of one sample.

    Source: Lu et al. 2023, algorithm 1 and eq. 13; section 4.2 for the rivals.
    Differs: c, a constant, cancels from eq. 13. ``emse`` has no largest exponent, where the code of
        the source stops learning.
    """
    _check(x0, energies, target)
    shape = (len(x0), *[1] * (x0.ndim - 1))
    t = t_min + (1 - t_min) * rng.uniform((len(x0),), x0.dtype, x0.device)
    level = model.schedule.level(t.reshape(shape))
    noise = rng.normal(x0.shape, x0.dtype, x0.device)
    f = model.grouped(level.alpha * x0 + level.sigma * noise, t, cond)
    if target == "mse":
        return (f + energies).square().mean(1)
    if target == "self":
        return -(softmax(-energies, dim=1) * f.log_softmax(dim=1)).sum(1)
    weights = _raw_weights(model, energies)
    if target == "emse":
        return (f.exp() - weights).square().mean(1)
    return -(weights * f.log_softmax(dim=1)).mean(1)


def _raw_weights(model: EnergyNet, energies: Tensor) -> Tensor:
    """Return exp(-E - c), with c of the batches before, and in training fold this one into c."""
    value = energies.detach().double()
    own = torch.logsumexp(-value.flatten(), 0) - math.log(value.numel())
    # A c that knew this batch would tie the weights together, which is the bias of ``self``.
    old = torch.where(model.batches == 0, own, model.log_norm)
    if model.training:
        share = (1 / (model.batches + 1).double()).clamp(min=MEMORY)
        model.log_norm.copy_(torch.logaddexp(old + torch.log1p(-share), own + share.log()))
        model.batches += 1
    return (-value - old).exp().to(energies)


def _check(x0: Tensor, energies: Tensor, target: str) -> None:
    if target not in get_args(Target):
        choices = ", ".join(get_args(Target))
        raise ValueError(f"unknown target {target!r}; expected one of {choices}")
    if x0.ndim < 3 or x0.shape[:2] != energies.shape:
        raise ValueError(
            f"the loss needs samples (B, K, ...) with an axis after K and energies (B, K), got "
            f"{tuple(x0.shape)} and {tuple(energies.shape)}"
        )
    if target in ("self", "raw") and energies.shape[1] < 2:
        raise ValueError("a contrast needs at least K = 2 samples a condition, got 1")
