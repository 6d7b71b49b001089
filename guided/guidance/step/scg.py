r"""Stochastic control guidance: gradient-free, for any energy of the clean sample."""

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from guided.cond import repeat
from guided.energy import Energy
from guided.guidance.step.drawing import require_kernel
from guided.guidance.step.restart import restarted
from guided.operator import Operator, as_energy
from guided.rng import Rng
from guided.sampler import Sampler, State, StepWrapper
from guided.schedule import Level


class SCG(StepWrapper):
    r"""Draws n candidates of x_s, looks ahead one network call, keeps the best.

    .. math::
        x_s^i &\sim \mathrm{kernel}(\cdot \mid x_t), \quad i = 1, \dots, n, \\
        k &= \arg\min_i E\big(x_0(x_s^i, s)\big), \qquad x_s = x_s^k.

    The candidates are judged at the level s that they are at, and the winner's prediction serves
    the next step: n network calls a step, not n + 1. Requests in a batch choose independently.
    Where the kernel has no noise (the step to data) the step is the sampler's own and costs
    nothing extra.

    The hard minimum is greedy best-of-n at every step. As n grows it over-optimises the energy
    rather than sampling p(x0) exp(-E(x0)). With a ``temperature`` the winner is drawn with
    probability proportional to exp(-E / temperature) instead; this is not exact posterior sampling
    either. Where noise is high a step can be repeated: noised back to t and taken again, at n + 1
    calls and n evaluations more.

    Args:
        sampler: a stochastic sampler, e.g. ``DDIM(denoiser, eta=1)``.
        energy: any energy, differentiable or not, (B n, ...) -> (B n,), or an operator, whose
            energy is its likelihood. An energy of +inf or NaN never wins unless all candidates of a
            request have it; then the first one is kept.
        candidates: n; 1 is neutral (the unguided run, bit for bit, with no energy evaluated).
        temperature: of the resampling; 0 is the hard minimum.
        restarts: how often a step is taken where noise-to-signal is above ``high``; 1 is neutral.
        high: see there; the first fifth of an EDM grid is above 22.

    Raises:
        ValueError: for a deterministic sampler, one whose step is more than a draw from its kernel
            (as that of most step-level methods), n < 1, restarts < 1 or a negative temperature.

    Source: Huang et al. 2024, Symbolic music generation with non-differentiable rule guided
        diffusion, algorithm 1 (arXiv 2402.14285); CPS, 2026 (arXiv 2603.01837) for the restarts.
    Differs: the authors' code looks ahead at t rather than s, and calls the network once more.
    """

    def __init__(
        self,
        sampler: Sampler,
        energy: Energy | Operator,
        candidates: int = 16,
        temperature: float = 0.0,
        restarts: int = 1,
        high: float = 22.0,
    ) -> None:
        super().__init__(sampler)
        if not sampler.stochastic:
            raise ValueError(
                f"SCG chooses between random candidates and needs a stochastic sampler, got a "
                f"deterministic {type(sampler).__name__}; use DDIM(denoiser, eta=1)"
            )
        require_kernel("SCG", sampler)
        if candidates < 1:
            raise ValueError(f"SCG needs at least 1 candidate, got {candidates}")
        if temperature < 0:
            raise ValueError(f"a temperature is 0 (hard minimum) or positive, got {temperature}")
        if restarts < 1:
            raise ValueError(f"a step is taken at least once, got {restarts} restarts")
        self.energy = as_energy(energy)
        self.candidates = candidates
        self.temperature = temperature
        self.restarts, self.high = restarts, high

    def step(self, state: State, t: Level, s: Level, cond: Any, rng: Rng) -> State:
        """Move from t to s by the best of n candidates, several times over where noise is high."""

        def once(state: State) -> State:
            return self._once(state, t, s, cond, rng)

        # Without a choice there is nothing to repeat a step for.
        restarts = 1 if self.candidates == 1 else self.restarts
        return restarted(once, state, t, s, rng, restarts, self.high)

    def _once(self, state: State, t: Level, s: Level, cond: Any, rng: Rng) -> State:
        n = self.candidates
        prediction = self.predict(state, t, cond)
        proposal = self.kernel(prediction, t, s, state.memory)
        memory = self.remember(prediction, t)
        if n == 1 or proposal.std == 0:
            return State(proposal.sample(1, rng), memory=memory, energy=state.energy)
        x = proposal.sample(n, rng)
        many = repeat(cond, n)
        ahead = self.denoiser(x, s, many)
        energy = self.energy(ahead.x0, many)
        winner = choose(energy, n, self.temperature, rng)
        return replace(State(x, ahead, energy=energy).take(winner), memory=memory)


def choose(energy: Tensor, n: int, temperature: float, rng: Rng) -> Tensor:
    """Return the index (B,) of one of every n consecutive energies (B n,).

    The lowest for temperature 0, else one drawn from softmax(-energy / temperature).
    """
    groups = torch.nan_to_num(energy.detach(), nan=math.inf, posinf=math.inf).reshape(-1, n)
    if temperature > 0:
        # Gumbel-max: the lowest of these is a draw from the softmax. 1 - u is never 0.
        u = rng.uniform((len(energy),), groups.dtype, groups.device).reshape(-1, n)
        groups = groups / temperature + torch.log(-torch.log1p(-u))
        groups = groups.nan_to_num(nan=math.inf, posinf=math.inf)
    first = torch.arange(0, len(energy), n, device=energy.device)
    return first + groups.argmin(dim=1)
