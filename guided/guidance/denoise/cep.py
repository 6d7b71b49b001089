r"""CEP: an energy of noisy samples, learned by contrast so that guidance by it is exact.

For the target :math:`p_0 \propto q_0 e^{-E}` the score of the noised target is that of q plus the
gradient of :math:`f(x_t, t) = \log E_q[e^{-E(x_0)} | x_t]`, up to a constant in (t, cond). An
energy network f learns it from samples of q and their energies. Rivals that are often used in its
place are options of the same loss, and are exact only for a linear energy.
"""

import math
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import softmax

from guided.cond import repeat
from guided.denoiser import per_sample
from guided.energy import gradient
from guided.guidance.denoise.classifier import ClassifierGuidance
from guided.hoist import TimeTable, require_hoistable
from guided.nets.residual import embedding
from guided.rng import Rng
from guided.schedule import Level, Schedule

Target = Literal["self", "raw", "mse", "emse"]

MEMORY = 0.01  # least weight of a new batch in the running log-normaliser


class EnergyNet(nn.Module):
    r"""A network f(x_t, t, cond) -> (B,) as the noise-aware energy :math:`E_t = -f`.

    Args:
        net: called as ``net(x (B, ...), time (B,), cond) -> (B,)``. If it has ``slope`` with the
            same arguments (see :class:`guided.nets.ScalarMLP`), no autograd is needed.
        schedule: of the samples that it sees.
    """

    differentiable = True
    log_norm: Tensor
    batches: Tensor

    def __init__(self, net: nn.Module, schedule: Schedule) -> None:
        super().__init__()
        self.net = net
        self.schedule = schedule
        # Of the batches that it was trained on: log of the mean of exp(-E), and how many.
        self.register_buffer("log_norm", torch.zeros((), dtype=torch.float64))
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor, level: Level, cond: Any = None) -> Tensor:
        """Return the energy -f of noisy samples x (B, ...), shape (B,)."""
        return -self.net(x, per_sample(level.t, x), cond)

    def slope(self, x: Tensor, level: Level, cond: Any = None) -> Tensor:
        """Return the gradient of the energy at x, of the shape of x."""
        net: Any = self.net
        if hasattr(net, "slope"):
            return -net.slope(x, per_sample(level.t, x), cond)
        return gradient(lambda y: self(y, level, cond), x)[1]

    def grouped(self, x: Tensor, t: Tensor, cond: Any = None) -> Tensor:
        """Return f, (B, K), for K samples (B, K, ...) of each condition at its time t (B,)."""
        b, k = x.shape[:2]
        net: Any = self.net
        if hasattr(net, "body"):  # embeds each condition once, not K times
            return net.body(x.flatten(2), embedding(net, t, cond)[:, None])
        return net(x.flatten(0, 1), t.repeat_interleave(k), repeat(cond, k)).reshape(b, k)


class HoistedEnergy(EnergyNet):
    """An energy net of frozen weights that looks up its times and is given embedded conditions.

    Args:
        energy: with a network such as :class:`guided.nets.ScalarMLP`; shared, not copied.
        times: the grid of the runs.
        part: the entry of ``cond`` that is this network's; None = ``cond`` itself.

    Raises:
        TypeError: for a network without ``embed_time``, ``embed_cond`` and ``body``.
    """

    def __init__(self, energy: EnergyNet, times: list[float], part: str | None = None) -> None:
        require_hoistable(energy.net)
        super().__init__(energy.net, energy.schedule)
        self.part = part
        self.table = TimeTable(energy.net, times)

    def embed(self, cond: Tensor) -> Tensor:
        """Return what this energy expects as condition, (B, width), for a raw one."""
        net: Any = self.net
        return net.embed_cond(cond)

    def forward(self, x: Tensor, level: Level, cond: Any = None) -> Tensor:
        """Return the energy -f of noisy samples x (B, ...), shape (B,)."""
        net: Any = self.net
        return -net.body(x.flatten(1), self._embedding(x, level, cond))

    def slope(self, x: Tensor, level: Level, cond: Any = None) -> Tensor:
        """Return the gradient of the energy at x, of the shape of x."""
        net: Any = self.net
        return -net.body_slope(x.flatten(1), self._embedding(x, level, cond)).reshape(x.shape)

    def _embedding(self, x: Tensor, level: Level, cond: Any) -> Tensor:
        own = cond if self.part is None else cond[self.part]
        return self.table(x, level, own)


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

    def __init__(self, denoiser: Any, energy: EnergyNet, scale: float | Tensor = 1.0) -> None:
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

    ========  ==================================================================================
    target    loss, and what minimises it
    ========  ==================================================================================
    ``self``  :math:`-\sum_i w_i \log \mathrm{softmax}_i f`, w the softmax of -E over the K
              samples: the code of the source; biased at small K
    ``raw``   the same with :math:`w_i = e^{-E_i - c} / K`: exact for every K >= 2
    ``mse``   regression of f on -E: its minimiser is the mean of -E given x_t, not f
    ``emse``  regression of exp f on :math:`e^{-E - c}`: exact, but blind where that is small
    ========  ==================================================================================

    c is the log of the mean of exp(-E) over earlier batches. A condition whose energies lie above
    those of others weighs less; subtract what is common to a condition first, but not what these
    samples themselves tell of it, or ``raw`` turns into ``self``.

    Args:
        model: the energy net; ``raw`` and ``emse`` in training mode update its normaliser.
        x0: K samples of q for each of B conditions, (B, K, ...); K = 1 only for the regressions.
        energies: E of each, (B, K), the temperature included.
        cond: conditions with leading axis B, or None.
        rng: draws times and noise.
        target: which of the above.
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
