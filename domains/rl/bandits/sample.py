r"""The guided models of one bandit, all on one score, and samples of them.

==========  ==================================================================================
cep         the contrastively learned energy
emse        regression of exp f on exp of the reward times beta
mse         beta times the regression of the reward on x_t
dps         beta times the reward of the clean estimate, differentiated through the score
unguided    q
==========  ==================================================================================

Rewards are labels without a gradient, so that ``dps`` takes the regression ``mse`` at its least
time as the reward of clean actions.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from guided import Denoiser, DPMpp2M, NetDenoiser, Rng
from guided.guidance import CEP, ClassifierGuidance, EnergyNet
from guided.schedule import Level, log_snr

METHODS = ("cep", "emse", "mse", "dps", "unguided")


class OfEstimate:
    """A clean energy, read at the clean estimate of noisy samples: DPS.

    Args:
        denoiser: makes the estimate.
        energy: a net that was trained on noisy samples too.
        t: the time at which it serves as an energy of clean samples.
    """

    differentiable = True

    def __init__(self, denoiser: Denoiser, energy: EnergyNet, t: float) -> None:
        self.denoiser, self.energy = denoiser, energy
        self.clean = energy.schedule.level(t)

    def __call__(self, x: Tensor, level: Level, cond: Any = None) -> Tensor:
        """Return the energy of every sample, (B,)."""
        return self.energy(self.denoiser(x, level).x0, self.clean)


class Conditioned(EnergyNet):
    """An energy net for one of the values of beta that it knows.

    Args:
        energy: the net; shared.
        code: its condition (betas,).
    """

    def __init__(self, energy: EnergyNet, code: Tensor) -> None:
        super().__init__(energy.net, energy.schedule)
        self.code = code

    def forward(self, x: Tensor, level: Level, cond: Any = None) -> Tensor:
        """Return the energy of noisy samples x (B, 2), shape (B,)."""
        return super().forward(x, level, self.code.expand(len(x), -1))

    def slope(self, x: Tensor, level: Level, cond: Any = None) -> Tensor:
        """Return its gradient at x, (B, 2)."""
        return super().slope(x, level, self.code.expand(len(x), -1))


def guided_model(
    method: str,
    score: NetDenoiser,
    energies: Mapping[str, EnergyNet],
    betas: tuple[float, ...],
    beta: float,
    t_min: float,
) -> Denoiser:
    """Return the model of a method at one beta.

    Raises:
        ValueError: for an unknown method.
    """
    if method == "unguided":
        return score
    if method == "mse":
        return CEP(score, energies["mse"], scale=beta)
    if method == "dps":
        return ClassifierGuidance(score, OfEstimate(score, energies["mse"], t_min), scale=beta)
    if method not in energies:
        raise ValueError(f"unknown method {method!r}; expected {', '.join(METHODS)}")
    if len(betas) == 1:
        return CEP(score, energies[method])
    code = torch.eye(len(betas))[betas.index(beta)]
    return CEP(score, Conditioned(energies[method], code))


def sampled(model: Denoiser, n: int, steps: int, rng: Rng) -> Tensor:
    """Return n samples (n, 2) of a model."""
    sampler = DPMpp2M(model)
    times = log_snr(model.schedule, steps)
    return sampler.sample(sampler.initial((n, 2), times, rng), times, rng=rng)
