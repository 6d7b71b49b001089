r"""Diffusion Waltz: Markov moves over finished samples, exact for any black box."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from guided.energy import Energy
from guided.guidance.sample.walk import require_stochastic, walked_back
from guided.operator import Operator, as_energy
from guided.rng import Rng
from guided.sampler import Sampler

MOST = 50.0  # noise-to-signal ratio at which standardised data is forgotten
SPREAD = 0.5  # of the noise of a move around its centre, in log(sigma / alpha)
GAIN = 1.0  # longest step of the centre, in the same unit: when all or none are accepted


@dataclass(frozen=True)
class Chain:
    """Where the moves are.

    Args:
        x0: samples (B, ...).
        energy: their energies (B,).
        accepted: which of them the last move changed, (B,) bool.
        ratio: the noise-to-signal ratio around which the next move draws its own.
    """

    x0: Tensor
    energy: Tensor
    accepted: Tensor
    ratio: float

    def take(self, index: Tensor) -> "Chain":
        """Resample the rows."""
        return replace(
            self,
            x0=self.x0[index],
            energy=self.energy[index],
            accepted=self.accepted[index],
        )


class Waltz:
    r"""Noise a sample, denoise it, accept by the likelihood ratio alone.

    .. math::
        x_t &= \alpha_t x_0 + \sigma_t \varepsilon, \qquad x_0' \sim p(x_0 \mid x_t), \\
        x_0 &\leftarrow x_0' \text{ with probability }
            \min\big(1, e^{-\beta (E(x_0') - E(x_0))}\big).

    Noising and denoising is reversible with respect to p(x0), so that the prior cancels and the
    moves leave :math:`p(x_0) e^{-\beta E(x_0)}` invariant. That holds as far as the sampler's walk
    draws from p(x0 | x_t): it has to be stochastic, and ``steps`` many enough.

    The noise of every move is drawn anew, near a centre that is moved to accept ``target`` of the
    proposals. Moves of much noise change the mode, moves of little noise the
    details. Starting from any samples, such as those of a biased method, moves repair them.

    All samples of a chain share the noise level of a move, and its centre follows what all of them
    accept: so they are coupled. Adapting for ever biases the law, by little and less with the
    number of samples.

    A move costs ``steps`` network calls and one evaluation of the energy per sample.

    Args:
        sampler: a stochastic sampler, e.g. ``DPMpp2M(denoiser, eta=1)``.
        energy: any energy E, or an operator, whose energy is its likelihood. A proposal of energy
            +inf or NaN is refused.
        steps: of the walk back.
        sigma_min: least noise-to-signal ratio of the walk, and of a move.
        ratio: the first centre.
        target: acceptance to aim at.

    Raises:
        ValueError: for a deterministic sampler, or numbers out of range.

    Source: Diffusion Waltz, 2026 (random-walk Metropolis-Hastings in diffusion space).
    Differs: the noise level is drawn per move around an adapted centre.
    """

    def __init__(
        self,
        sampler: Sampler,
        energy: Energy | Operator,
        steps: int = 40,
        sigma_min: float = 0.01,
        ratio: float = 1.0,
        target: float = 0.3,
    ) -> None:
        require_stochastic(self, sampler)
        if steps < 1 or not 0 < sigma_min < ratio or not 0 < target < 1:
            raise ValueError(
                f"Waltz needs steps >= 1, 0 < sigma_min < ratio and target in (0, 1), got "
                f"{steps}, {sigma_min}, {ratio} and {target}"
            )
        self.sampler, self.energy = sampler, as_energy(energy)
        self.steps, self.sigma_min, self.ratio, self.target = steps, sigma_min, ratio, target
        # Where all proposals are accepted, the noise would grow without end.
        self.most = max(ratio, min(MOST, sampler.denoiser.schedule.level(1.0).noise_to_signal))

    def start(self, x0: Tensor, cond: Any = None) -> Chain:
        """Return a chain at given samples (B, ...); costs one evaluation of the energy."""
        nobody = torch.zeros(len(x0), dtype=torch.bool, device=x0.device)
        return Chain(x0, self.energy(x0, cond), nobody, self.ratio)

    def propose(self, x0: Tensor, ratio: float, cond: Any, rng: Rng) -> Tensor:
        """Return samples noised to sigma / alpha = ratio and denoised again."""
        noise = rng.normal(x0.shape, x0.dtype, x0.device)
        return self.denoised(torch.add(x0, noise, alpha=ratio), ratio, cond, rng)

    def denoised(self, z: Tensor, ratio: float, cond: Any, rng: Rng) -> Tensor:
        """Return draws of x0 given z = x0 + ratio * noise (B, ...)."""
        return walked_back(self.sampler, z, ratio, self.steps, self.sigma_min, cond, rng)

    def move(self, chain: Chain, cond: Any, rng: Rng, beta: float = 1.0) -> Chain:
        """Return the chain after one move."""
        x0 = self.propose(chain.x0, self.drawn(chain, rng), cond, rng)
        energy = self.energy(x0, cond)
        log_odds = beta * (chain.energy - energy).double()
        return self.settled(chain, x0, energy, log_odds, rng)

    def drawn(self, chain: Chain, rng: Rng) -> float:
        """Return the noise-to-signal ratio of one move."""
        u = rng.uniform((len(rng.seeds),), torch.float64)[0].item()
        return self.bounded(chain.ratio * math.exp(SPREAD * (2 * u - 1)))

    def bounded(self, ratio: float) -> float:
        """Return the nearest ratio that a move can have."""
        return min(max(ratio, 1.01 * self.sigma_min), self.most)

    def adapted(self, chain: Chain, accepted: Tensor) -> float:
        """Return the next centre: higher where more than ``target`` were accepted."""
        excess = accepted.double().mean().item() - self.target
        step = GAIN * excess / (self.target if excess < 0 else 1 - self.target)
        return self.bounded(chain.ratio * math.exp(step))

    def settled(
        self, chain: Chain, x0: Tensor, energy: Tensor, log_odds: Tensor, rng: Rng
    ) -> Chain:
        """Return the chain after accepting proposals of energies (B,) with those log odds (B,)."""
        u = rng.uniform((len(x0),), torch.float64, x0.device)
        # A proposal without a finite energy compares as False; any finite one leaves +inf.
        accepted = u.log() < log_odds
        keep = accepted.reshape(-1, *[1] * (x0.ndim - 1))
        return replace(
            chain,
            x0=torch.where(keep, x0, chain.x0),
            energy=torch.where(accepted, energy, chain.energy),
            accepted=accepted,
            ratio=self.adapted(chain, accepted),
        )

    def iterate(
        self, x0: Tensor, moves: int, cond: Any = None, *, rng: Rng, beta: float = 1.0
    ) -> Iterator[Chain]:
        """Yield the chain after every move, starting from samples x0 (B, ...)."""
        chain = self.start(x0, cond)
        for _ in range(moves):
            chain = self.move(chain, cond, rng, beta)
            yield chain

    def sample(
        self, x0: Tensor, moves: int, cond: Any = None, *, rng: Rng, beta: float = 1.0
    ) -> Tensor:
        """Return samples (B, ...) after so many moves from samples x0."""
        for chain in self.iterate(x0, moves, cond, rng=rng, beta=beta):
            x0 = chain.x0
        return x0
