r"""Guided sampling of scenes: a method of the core, and an energy of where everybody goes.

Energies are of positions in metres (:mod:`domains.trajectory.costs`), the diffusion runs in u; the
way from u to positions is linear, so that no gradient passes through the network (but for the
score-function rival). The strength has no unit: 1/2 is the step which, taken alone and unclipped,
brings a point at the end of the plan onto its goal.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from domains.trajectory.costs.quadratic import misfit_of
from domains.trajectory.prepared import Prepared
from domains.trajectory.squares import Squares
from guided.denoiser import Denoiser
from guided.energy import Energy
from guided.guidance import ECM, ECMR, MPGD, Between, NextNoiseMean, ScoreFunction
from guided.sampler import Sampler
from guided.samplers import DDIM

Method = Literal["none", "ecm", "ecmr", "mpgd", "next-noise-mean", "score-function"]


@dataclass(frozen=True)
class Guidance:
    """How samples are made to obey."""

    method: Method = "ecmr"
    """``ecm`` and ``ecmr`` (which starts each agent from its best marginal mode) are the fast ones;
    ``next-noise-mean`` and ``score-function`` are their rivals; ``mpgd`` is ecm without a bound."""
    strength: float = 0.4
    """Of a step down the energy; 0 is neutral."""
    clip: float = 1.0
    """Longest change of a latent in a step, in deviations over all data; inf = no bound."""
    last: bool = True
    """Whether the last step is guided too: it ends nearer to the goal, and farther from what the
    model would have done."""

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise ValueError(f"unknown method {self.method!r}; expected {get_args(Method)}")
        if self.strength < 0 or not self.clip > 0:
            raise ValueError(
                f"guidance needs a strength of 0 or more and a positive clip, got {self.strength} "
                f"and {self.clip}"
            )

    def sampler(
        self, prepared: Prepared, times: Sequence[float], energies: Sequence[Energy]
    ) -> Sampler:
        """Return the guided sampler.

        Args:
            prepared: B scenes.
            times: of the run.
            energies: of the futures of each scene, in metres from its origin.
        """
        plain = prepared.denoiser
        if self.method == "none" or self.strength == 0:
            return DDIM(plain)
        energy = energy_of(prepared, energies)
        spread = prepared.std
        scale = self.strength / response(prepared)
        if self.method == "next-noise-mean":
            return NextNoiseMean(DDIM(plain), energy, scale, self.clip)
        return DDIM(self._denoiser(prepared, energy, scale, spread, times))

    def _denoiser(
        self,
        prepared: Prepared,
        energy: Energy,
        scale: float,
        spread: Tensor,
        times: Sequence[float],
    ) -> Denoiser:
        guided: Denoiser
        plain = prepared.denoiser
        if self.method == "score-function":
            guided = ScoreFunction(plain, energy, scale, self.clip)
        elif self.method == "mpgd":
            guided = MPGD(plain, energy, scale)
        elif self.method == "ecm":
            guided = ECM(plain, energy, scale, self.clip)
        else:
            guided = ECMR(plain, energy, prepared.references(), scale, self.clip)
        if self.last:
            return guided
        low = plain.schedule.levels(times)[-2].noise_to_signal
        return Between(guided, low=low)


def energy_of(prepared: Prepared, energies: Sequence[Energy]) -> Energy:
    """Return the energy of x in the diffusion's coordinates, the fastest one that is the same.

    Args:
        prepared: B scenes.
        energies: one for each scene, of positions (R, A, F, 2) of its own agents.

    Raises:
        ValueError: for another number of energies than scenes.
    """
    whole = Futures(prepared, energies)
    misfits = [misfit for energy in energies if (misfit := misfit_of(energy)) is not None]
    return Squares(prepared, misfits) if len(misfits) == len(energies) else whole


class Futures(Energy):
    """An energy of x in the diffusion's coordinates: decoded, and scored scene by scene.

    Args:
        prepared: B scenes.
        energies: one for each scene, of positions (R, A, F, 2) of its own agents, without padding.

    Raises:
        ValueError: for another number of energies than scenes.
    """

    def __init__(self, prepared: Prepared, energies: Sequence[Energy]) -> None:
        if len(energies) != len(prepared.scenes):
            raise ValueError(
                f"{len(prepared.scenes)} scenes need as many energies, got {len(energies)}"
            )
        self.prepared, self.energies = prepared, tuple(energies)
        self.differentiable = all(energy.differentiable for energy in energies)

    def __call__(self, x0: Tensor, cond: object = None) -> Tensor:
        """Return the energies (B S,) of u (B S, A, k)."""
        each = self.prepared.decode(x0).unflatten(0, (len(self.energies), -1))
        parts = [
            energy(positions[:, : len(one.agents)])
            for energy, positions, one in zip(self.energies, each, self.prepared.cases, strict=True)
        ]
        return torch.cat(parts)


def response(prepared: Prepared) -> float:
    """Return the largest squared way, metres^2, that a point of a plan moves by a unit of latents.

    It is the largest squared singular value of the decoder at one step of the future.
    """
    latents = prepared.predictor.latents
    rows = (latents.basis * latents.std).reshape(latents.future, 2, latents.dim)
    return float(torch.linalg.matrix_norm(rows, ord=2).square().max())
