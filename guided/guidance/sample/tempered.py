r"""Tempered sequential Monte Carlo from the prior to the posterior, over finished samples."""

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from guided.cond import take
from guided.guidance.particles import (
    along_main_axis,
    bennett,
    effective_size,
    next_temperature,
    systematic,
)
from guided.guidance.sample.waltz import Chain, Waltz
from guided.rng import Rng

AT_FIRST = 4  # how many times K of the prior's draws count as many


@dataclass(frozen=True)
class Population:
    r"""Equally weighted particles of :math:`p(x_0) e^{-\beta E(x_0)}`.

    Args:
        chain: the particles (K, ...), their energies, and the noise of their next move.
        beta: inverse temperature: 0 is the prior, 1 the posterior.
        log_z: estimate of the log evidence :math:`\log E_p[e^{-\beta E}]`.
        effective: effective size at the last change of temperature, before resampling.
        sweeps: evaluations of the energy per particle so far.
        acceptance: share of the last move's proposals.
    """

    chain: Chain
    beta: float
    log_z: float
    effective: float
    sweeps: int
    acceptance: float


class Visit(NamedTuple):
    """The energies (K,) of the population after every move at one temperature."""

    beta: float
    energies: list[Tensor]

    def settled(self) -> Tensor:
        """Return those of the second half of the moves."""
        return torch.cat(self.energies[len(self.energies) // 2 :])


class TemperedSMC:
    r"""Moves a population from the prior to :math:`p(x_0) e^{-E(x_0)}` through temperatures.

    Every temperature is the highest that keeps the effective size above a share of K; there the
    particles are resampled, in order along their main axis, and moved by :class:`Waltz`. The first
    temperature chooses from all draws of the prior, of which there may be many more than K: that
    many make the first step long and precise, at no cost in moves. When beta is 1, the moves left
    in the budget are spent there; where the budget nears its end before, temperatures get fewer
    moves, and the last one is 1, with a warning if that costs most particles. Converges to the
    posterior, and log_z to the log evidence, as K grows, if the moves are exact; no gradient and no
    tuning per problem is involved.

    Costs one evaluation of the energy per draw of the prior, and one with ``waltz.steps`` network
    calls per particle and move. Half the budget spent on draws of the prior is a good default.

    Args:
        waltz: the moves, with the sampler and the energy.
        particles: K.
        sweeps: evaluations of the energy per particle, those of the prior's draws included.
        moves: per temperature, fewer where the budget ends before; None is a 20th of the sweeps.
        share: of K that stays effective; of min(N, 4 K) at the first temperature, with N draws.

    Raises:
        ValueError: for numbers out of range.

    Source: Del Moral, Doucet & Jasra 2006, Sequential Monte Carlo samplers, section 3.
    """

    def __init__(
        self,
        waltz: Waltz,
        particles: int = 1024,
        sweeps: int = 158,
        moves: int | None = None,
        share: float = 0.65,
    ) -> None:
        moves = max(1, sweeps // 20) if moves is None else moves
        if particles < 2 or sweeps < 2 or moves < 1 or not 0 < share < 1:
            raise ValueError(
                f"TemperedSMC needs particles >= 2, sweeps >= 2, moves >= 1 and a share in (0, 1), "
                f"got {particles}, {sweeps}, {moves} and {share}"
            )
        self.waltz, self.particles, self.sweeps = waltz, particles, sweeps
        self.moves, self.share = moves, share

    def iterate(
        self, x: Tensor, times: Sequence[float], cond: Any = None, *, rng: Rng
    ) -> Iterator[Population]:
        """Yield the population after every move, the first one drawn from the prior.

        Args:
            x: x_T (N, ...), N at least K: starts of draws from the prior, of which the first
                temperature leaves K. More draws find rare modes and sharpen log_z.
            times: decreasing times of the prior's draw.
            cond: the same for all particles, any tree of tensors with leading axis K.
            rng: the source of all randomness.

        Raises:
            ValueError: for fewer starts than particles.
            FloatingPointError: if no particle has a finite energy.
        """
        if len(x) < self.particles:
            raise ValueError(f"got {len(x)} starts for {self.particles} particles; give as many")
        every = take(cond, torch.arange(len(x)) % self.particles)
        x0 = self.waltz.sampler.sample(x, times, every, rng=rng)
        chain = self.waltz.start(x0, every)
        trace = [Visit(0.0, [chain.energy])]
        sweeps = -(-len(x) // self.particles)
        yield Population(chain, 0.0, 0.0, float(len(x)), sweeps, 0.0)
        while sweeps < self.sweeps:
            left = self.sweeps - sweeps
            beta, effective, survivors = self._cooled(chain, trace[-1].beta, left == 1, rng)
            chain = chain.take(survivors)
            trace.append(Visit(beta, []))
            for _ in range(left if beta == 1 else self._moves(left)):
                chain = self.waltz.move(chain, cond, rng, beta)
                trace[-1].energies.append(chain.energy)
                sweeps += 1
                acceptance = float(chain.accepted.double().mean())
                yield Population(chain, beta, evidence(trace), effective, sweeps, acceptance)

    def sample(
        self, x: Tensor, times: Sequence[float], cond: Any = None, *, rng: Rng
    ) -> Population:
        """Return the last population; arguments as in :meth:`iterate`."""
        *_, population = self.iterate(x, times, cond, rng=rng)
        return population

    def _moves(self, left: int) -> int:
        """Return the moves of a temperature: few where few are left for all to come."""
        return min(self.moves, max(1, left // 4))

    def _cooled(
        self, chain: Chain, beta: float, last: bool, rng: Rng
    ) -> tuple[float, float, Tensor]:
        """Return a higher beta, the effective size there, and the particles that survive."""
        energy = chain.energy.double().nan_to_num(nan=math.inf, posinf=math.inf)[None]
        if not bool((energy < math.inf).any()):
            raise FloatingPointError("no particle has a finite energy; give more particles")
        least = self.share * min(energy.shape[1], AT_FIRST * self.particles)
        higher = 1.0 if last else next_temperature(energy, beta, least / energy.shape[1])
        log_weights = -(higher - beta) * energy
        order = along_main_axis(chain.x0)
        survivors = order[systematic(log_weights[:, order], rng, self.particles)]
        effective = float(effective_size(log_weights))
        if last and effective < least / 2:
            warnings.warn(
                f"the budget of {self.sweeps} sweeps ended at beta = {beta:.3g}, and the step from "
                f"there to 1 leaves {effective:.1f} of {self.particles} particles effective; give "
                f"more sweeps or more particles",
                RuntimeWarning,
                stacklevel=3,
            )
        return higher, effective, survivors


def evidence(trace: Sequence[Visit]) -> float:
    """Return log Z of the last temperature, by Bennett's ratio between neighbours.

    The first half of the moves at a temperature, which still remember the one before, is left out.
    """
    total = 0.0
    for hot, cold in pairwise(trace):
        total += bennett(cold.settled(), hot.settled(), cold.beta - hot.beta)
    return total
