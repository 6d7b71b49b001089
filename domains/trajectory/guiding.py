r"""Guided sampling of scenes: a method of the core, and an energy of where everybody goes.

Energies are of positions in metres (:mod:`domains.trajectory.costs`), the diffusion runs in u; the
way from u to positions is linear, so that no gradient passes through the network (but for the
score-function rival). The strength has no unit: 1/2 is the step which, taken alone and unclipped,
brings the point of a plan that moves most onto its goal. Where more than one place at a time is
asked, shorter steps are tried as well.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from domains.trajectory.costs.cost import Cost
from domains.trajectory.costs.quadratic import Quadratic, misfit_of
from domains.trajectory.prepared import Prepared
from domains.trajectory.squares import Squares
from guided.denoiser import Denoiser, DenoiserWrapper
from guided.energy import Energy, WeightedSum
from guided.guidance import ECM, ECMR, MPGD, Between, NextNoiseMean, ScoreFunction
from guided.sampler import Sampler
from guided.samplers import DDIM

Method = Literal["none", "ecm", "ecmr", "mpgd", "next-noise-mean", "score-function"]
SHAPED = ("ecm", "ecmr")
HALVINGS = 4  # shorter steps to try, where the strength does not tell the right length


@dataclass(frozen=True)
class Guidance:
    """How samples are made to obey."""

    method: Method = "ecm"
    """``ecm``, and ``ecmr``, which may also jump to an agent's best marginal mode, are the fast
    ones; ``next-noise-mean`` and ``score-function`` are their rivals, ``mpgd`` is ecm without a
    bound."""
    strength: float = 0.8
    """Of a step down the energy; 0 is neutral."""
    clip: float = 1.0
    """Longest change of a latent in a step of ecm and ecmr, in deviations over all data; inf = no
    bound."""
    shaped: bool = True
    """Whether steps of ecm and ecmr follow the covariance of an agent's marginal modes, so that a
    car brakes rather than being slower from one moment to the next; the paper's do not."""
    last: bool = True
    """Whether the last step is guided too: it ends nearer to the goal, and farther from what the
    model would have done."""

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise ValueError(f"unknown method {self.method!r}; expected {get_args(Method)}")
        if not 0 <= self.strength < math.inf or not self.clip > 0:
            raise ValueError(
                f"guidance needs a strength of 0 or more and a positive clip, got {self.strength} "
                f"and {self.clip}"
            )

    def sampler(
        self,
        prepared: Prepared,
        times: Sequence[float],
        energies: Sequence[Energy],
        denoiser: Denoiser | None = None,
    ) -> Sampler:
        """Return the guided sampler.

        Args:
            prepared: B scenes.
            times: of the run.
            energies: of the futures of each scene, in metres from its origin; of one kind, e.g.
                the same wishes: whether shorter steps are tried goes by all of them.
            denoiser: of the scenes, e.g. a contrast; None = the predictor's own.
        """
        plain = prepared.denoiser if denoiser is None else denoiser
        if self.method == "none" or self.strength == 0:
            return DDIM(plain)
        energy = energy_of(prepared, energies)
        low = 0.0 if self.last else plain.schedule.levels(times)[-2].noise_to_signal
        if self.method == "next-noise-mean":
            scale = self.strength / response(prepared)
            return Between(NextNoiseMean(DDIM(plain), energy, scale), low)
        halvings = 0 if all(map(_one_goal, energies)) else HALVINGS
        return DDIM(Between(self._denoiser(plain, prepared, energy, halvings), low))

    def _denoiser(
        self, plain: Denoiser, prepared: Prepared, energy: Energy, halvings: int
    ) -> DenoiserWrapper:
        metric = None
        scale = self.strength / response(prepared)
        if self.method == "score-function":
            return ScoreFunction(plain, energy, scale)
        if self.method == "mpgd":
            return MPGD(plain, energy, scale)
        if self.shaped:
            scale, metric = self.strength, shape(prepared)
        how = (scale, self.clip, prepared.std, metric, halvings)
        if self.method == "ecm":
            return ECM(plain, energy, *how)
        return ECMR(plain, energy, prepared.references(), *how)


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
    return Squares(prepared, misfits, whole.parts) if len(misfits) == len(energies) else whole


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
        found = [energy(positions) for energy, positions in self._scenes(x0)]
        return torch.cat(found)

    def parts(self, x0: Tensor, cond: object = None) -> Tensor | None:
        """Return the agents' own parts of the energies, (B S, A), if they are sums of such."""
        if not all(_separable(energy) for energy in self.energies):
            return None
        found = x0.new_zeros(x0.shape[:2])
        rows = found.unflatten(0, (len(self.energies), -1))
        for row, (energy, positions) in zip(rows, self._scenes(x0), strict=True):
            for weight, cost in _terms(energy):
                row[:, list(cost.agents)] += weight * cost.each(positions)
        return found

    def _scenes(self, x0: Tensor) -> Iterator[tuple[Energy, Tensor]]:
        """Yield each scene's energy and futures (S, A, F, 2), padding dropped."""
        each = self.prepared.decode(x0).unflatten(0, (len(self.energies), -1))
        for energy, positions, one in zip(self.energies, each, self.prepared.cases, strict=True):
            yield energy, positions[:, : len(one.agents)]


def _one_goal(energy: Energy) -> bool:
    """Return whether an energy asks one place of an agent, for which the strength is made."""
    if isinstance(energy, WeightedSum):
        weight = max(energy.weights.values())
        return len(energy.terms) == 1 and weight <= 1 and all(map(_one_goal, energy.terms.values()))
    return isinstance(energy, Quadratic)


def _separable(energy: Energy) -> bool:
    if isinstance(energy, WeightedSum):
        return all(_separable(term) for term in energy.terms.values())
    return isinstance(energy, Cost) and energy.separable


def _terms(energy: Energy) -> Iterator[tuple[float, Cost]]:
    """Yield the costs that a separable energy is the weighted sum of."""
    if isinstance(energy, WeightedSum):
        for name, term in energy.terms.items():
            yield from ((energy.weights[name] * weight, cost) for weight, cost in _terms(term))
    elif isinstance(energy, Cost):
        yield 1.0, energy


def shape(prepared: Prepared) -> Tensor:
    """Return each agent's covariance of modes, over the largest response to it, (B, A, k, k).

    A response, metres^2, is how far a gradient of 1 per metre at a point moves that point.
    """
    covariance, latents = prepared.covariance(), prepared.predictor.latents
    ways = (latents.basis * latents.std).reshape(latents.future, 2, latents.dim)
    ways = ways * prepared.std[:, :, None, None]  # (B, A, F, 2, k): metres a unit of u
    moved = ways @ covariance[:, :, None] @ ways.mT
    largest = torch.linalg.matrix_norm(moved, ord=2).amax(2)
    return covariance / largest[..., None, None].clamp(min=1e-6)


def response(prepared: Prepared) -> float:
    """Return the largest squared way, metres^2, that a point of a plan moves by a unit of latents.

    It is the largest squared singular value of the decoder at one step of the future.
    """
    latents = prepared.predictor.latents
    rows = (latents.basis * latents.std).reshape(latents.future, 2, latents.dim)
    return float(torch.linalg.matrix_norm(rows, ord=2).square().max())
