r"""Sequential Monte Carlo along the denoising steps: Feynman-Kac steering."""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from guided.cond import take
from guided.energy import Energy
from guided.guidance.particles import effective_size, next_temperature, systematic
from guided.operator import Operator, as_energy
from guided.rng import Rng
from guided.sampler import Sampler, State, StepWrapper
from guided.schedule import Level

Potential = Literal["difference", "max", "sum"]


@dataclass(frozen=True)
class Weights:
    """What the particles carry: B requests, K particles each.

    Args:
        inner: the memory of the sampler, a tree with axis 0 = particle.
        energy: of the last clean estimates (B K,); +inf before the first.
        told: minus the log of all potentials so far (B K,), which the last one makes up for.
        seen: the last energy, the lowest for ``max``, the sum for ``sum``, (B K,).
        log_weights: since the last resampling (B, K).
        log_z: estimate of log E[exp(-E(x0))], shape (B,), final after the last step.
        effective: effective size at the last potential, before any resampling, (B,).
        beta: inverse temperature that the last potential used.
        steps: steps so far.
    """

    inner: Any
    told: Tensor
    seen: Tensor
    log_weights: Tensor
    log_z: Tensor
    effective: Tensor
    beta: float
    steps: int


class SMC(StepWrapper):
    r"""Weighs particles by potentials of the clean estimate, and resamples them.

    The particles move by the sampler's own kernel. At level s a potential G multiplies the weights,
    of the energies :math:`E_s = E(x_0(x_s, s))` so far:

    ==============  ======================================================================
    potential       :math:`-\log G_s`
    ==============  ======================================================================
    ``difference``  :math:`\beta_s E_s - \beta_t E_t`, t the last level with a potential
    ``max``         :math:`\beta_s \min_{r \ge s} E_r` (the highest reward so far)
    ``sum``         :math:`\beta_s \sum_{r \ge s} E_r`
    ==============  ======================================================================

    The last potential makes the product of all :math:`e^{-E(x_0)}`. So the weighted particles
    converge to p(x0) exp(-E(x0)), and exp(log_z) has the evidence as its expectation, for every
    potential, as K grows (for an exact kernel: a stochastic sampler with many steps). With few
    particles they are overconfident, as late resampling leaves few ancestors; ``max`` and ``sum``
    exaggerate on the way, and need few potentials (``every``) or many particles to recover.

    Costs one network call a step, as the look-ahead is the next step's prediction, and one
    evaluation of the energy per particle and potential. Needs no gradient.

    Args:
        sampler: a stochastic sampler.
        energy: any energy, or an operator, whose energy is its likelihood. +inf or NaN removes a
            particle in the last step; before that it counts as the largest finite energy of the
            request.
        particles: K; axis 0 of the run is (B K), the particles of a request side by side. 1 is
            neutral.
        potential: one of the above.
        every: steps from one potential to the next; the last step always has one.
        share: resample where the effective size falls below this share of K.
        temper: choose :math:`\beta_s` as high as keeps the effective size above ``share``, never
            falling, 1 at the end. False is beta = 1 throughout.

    Raises:
        ValueError: for a deterministic sampler or numbers out of range.

    Source: Singhal et al. 2025, A general framework for inference-time scaling and steering of
        diffusion models (FK steering), algorithm 1; Del Moral 2004 for the log evidence.
    """

    needs_all_steps = True

    def __init__(
        self,
        sampler: Sampler,
        energy: Energy | Operator,
        particles: int,
        potential: Potential = "difference",
        every: int = 1,
        share: float = 0.5,
        temper: bool = False,
    ) -> None:
        super().__init__(sampler)
        if not sampler.stochastic:
            raise ValueError(
                f"{type(self).__name__} resamples particles that then part again and needs a "
                f"stochastic sampler, got a deterministic {type(sampler).__name__}; use "
                f"DDIM(denoiser, eta=1)"
            )
        if particles < 1 or every < 1 or not 0 <= share <= 1:
            raise ValueError(
                f"{type(self).__name__} needs particles >= 1, every >= 1 and a share in [0, 1], "
                f"got {particles}, {every} and {share}"
            )
        if potential not in ("difference", "max", "sum"):
            raise ValueError(
                f"unknown potential {potential!r}; expected 'difference', 'max' or 'sum'"
            )
        self.energy, self.particles, self.potential = as_energy(energy), particles, potential
        self.every, self.share, self.temper = every, share, temper

    def step(self, state: State, t: Level, s: Level, cond: Any, rng: Rng) -> State:
        """Move from t to s, weigh, and resample where the weights have become uneven."""
        if self.particles == 1:
            return self.sampler.step(state, t, s, cond, rng)
        weights: Weights = state.memory or self._start(state.x)
        moved = self.sampler.step(replace(state, memory=weights.inner), t, s, cond, rng)
        weights = replace(weights, inner=moved.memory, steps=weights.steps + 1)
        last = s.sigma == 0
        if weights.steps % self.every and not last:
            return replace(moved, memory=weights, energy=state.energy)
        ahead = None if last else self.denoiser(moved.x, s, cond)
        energy = self.energy(moved.x if ahead is None else ahead.x0, cond).double()
        energy = energy.nan_to_num(nan=math.inf, posinf=math.inf)
        if not last:
            energy = self._bounded(energy)
        weights = self._weighed(weights, energy, last)
        moved = State(moved.x, ahead, weights, energy.to(moved.x.dtype))
        return self._resampled(moved, weights, last, rng)

    def _start(self, x: Tensor) -> Weights:
        if len(x) % self.particles:
            raise ValueError(
                f"{len(x)} rows are no groups of {self.particles} particles; give (B K, ...)"
            )
        rows = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        groups = rows.reshape(-1, self.particles)
        seen = rows + math.inf if self.potential == "max" else rows
        first = groups[:, 0]
        return Weights(None, rows, seen, groups, first, first + self.particles, 0.0, 0)

    def _bounded(self, energy: Tensor) -> Tensor:
        """Replace +inf by the largest finite energy of the request; by 0 where there is none.

        An estimate that is forbidden may still become a sample that is not: only the last step can
        tell, and a particle removed before would be missing from the law.
        """
        groups = energy.reshape(-1, self.particles)
        largest = groups.where(groups < math.inf, -math.inf).amax(1, keepdim=True)
        largest = largest.where(largest > -math.inf, 0.0)
        return groups.where(groups < math.inf, largest).flatten()

    def _weighed(self, weights: Weights, energy: Tensor, last: bool) -> Weights:
        """Fold the potential of one step into the weights."""
        seen = energy
        if self.potential == "max":
            seen = torch.minimum(weights.seen, energy)
        elif self.potential == "sum":
            seen = weights.seen + energy
        beta = 1.0 if last or not self.temper else self._beta(weights, seen)
        told = energy
        if not last:
            told = beta * seen if self.potential == "difference" else weights.told + beta * seen
        log_weights = weights.log_weights + (weights.told - told).reshape_as(weights.log_weights)
        return replace(
            weights,
            told=told,
            seen=seen,
            log_weights=log_weights,
            effective=effective_size(log_weights),
            beta=beta,
        )

    def _beta(self, weights: Weights, seen: Tensor) -> float:
        """Return the highest beta, not below the last one, that keeps enough particles."""
        base = weights.log_weights
        if self.potential == "difference":
            base = base + weights.told.reshape_as(base)
        return next_temperature(seen.reshape_as(base), weights.beta, self.share, base)

    def _resampled(self, state: State, weights: Weights, last: bool, rng: Rng) -> State:
        """Resample the requests whose weights are uneven; all of them at the end."""
        uneven = (weights.effective < self.share * self.particles) | last
        stay = torch.arange(len(state.x), device=state.x.device).reshape(-1, self.particles)
        drawn = systematic(weights.log_weights, rng).reshape_as(stay)
        index = torch.where(uneven[:, None], drawn, stay).flatten()
        mean = weights.log_weights.logsumexp(1) - math.log(self.particles)
        kept = replace(
            weights,
            inner=take(weights.inner, index),
            told=weights.told[index],
            seen=weights.seen[index],
            log_weights=torch.where(uneven[:, None], 0.0, weights.log_weights),
            log_z=weights.log_z + torch.where(uneven, mean, 0.0),
        )
        return replace(replace(state, memory=None).take(index), memory=kept)


def FKSteering(
    sampler: Sampler,
    energy: Energy | Operator,
    particles: int = 4,
    potential: Potential = "max",
    every: int = 20,
) -> SMC:
    """Return :class:`SMC` as FK steering uses it: few particles, and a potential now and then."""
    return SMC(sampler, energy, particles, potential, every, share=1.0)
