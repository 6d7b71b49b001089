r"""Candidates that vote: the direction of the noise is fitted to the measurement."""

import math
from typing import Any

import torch
from torch import Tensor

from guided.cond import repeat
from guided.guidance.step.drawing import require_kernel
from guided.guidance.step.restart import restarted
from guided.operator import Operator
from guided.rng import Rng
from guided.sampler import Sampler, State, StepWrapper
from guided.schedule import Level


class CPS(StepWrapper):
    r"""Draws n candidates as SCG does, and moves along what all of them tell of the forward map.

    With the kernel's mean m and deviation s, noises e of the candidates and d numbers in a sample,

    .. math::
        x^k = m + s e^k, \quad G^k = G(x_0(x^k, s)), \quad
        A = \tfrac1n \sum_k (G^k - \bar G)(e^k)^T, \quad
        x_s = m + s \sqrt d\, \frac{A^T (y - \bar G)}{|A^T (y - \bar G)|}.

    The result has the norm of a typical draw. In the first steps the step is repeated: noised back
    to t and taken again. It finds likely samples with fewer candidates than SCG; it samples no
    posterior, as every step is deterministic given the candidates, and uses no noise level of y
    (misfits are in its units).

    Costs n + 1 network calls' worth of rows, and n evaluations of the forward map, a step and
    restart.

    Args:
        sampler: a stochastic sampler, e.g. ``DDIM(denoiser, eta=1)``.
        operator: the forward map and what was measured; candidates whose evaluation fails do not
            vote, and where none is left the step is the sampler's own.
        candidates: n, at least 2.
        restarts: how often a step is taken where noise-to-signal is above ``high``.
        high: see there; the first fifth of an EDM grid is above 22.

    Raises:
        ValueError: for a deterministic sampler, one whose step is more than a draw from its kernel,
            or numbers out of range.

    Source: CPS, 2026 (arXiv 2603.01837), algorithm 1.
    Differs: the noise of y weighs the outputs.
    """

    def __init__(
        self,
        sampler: Sampler,
        operator: Operator,
        candidates: int = 64,
        restarts: int = 5,
        high: float = 22.0,
    ) -> None:
        super().__init__(sampler)
        if not sampler.stochastic:
            raise ValueError(
                f"CPS fits the noise of a step and needs a stochastic sampler, got a deterministic "
                f"{type(sampler).__name__}; use DDIM(denoiser, eta=1)"
            )
        require_kernel("CPS", sampler)
        if candidates < 2 or restarts < 1:
            raise ValueError(
                f"CPS needs candidates >= 2 and restarts >= 1, got {candidates} and {restarts}"
            )
        self.operator, self.candidates = operator, candidates
        self.restarts, self.high = restarts, high

    def step(self, state: State, t: Level, s: Level, cond: Any, rng: Rng) -> State:
        """Move from t to s along the fitted noise, several times over where noise is high."""

        def once(state: State) -> State:
            return self._once(state, t, s, cond, rng)

        return restarted(once, state, t, s, rng, self.restarts, self.high)

    def _once(self, state: State, t: Level, s: Level, cond: Any, rng: Rng) -> State:
        prediction = self.predict(state, t, cond)
        proposal = self.kernel(prediction, t, s, state.memory)
        memory = self.remember(prediction, t)
        if proposal.std == 0:
            return State(proposal.mean, memory=memory, energy=state.energy)
        n = self.candidates
        mean = proposal.mean.repeat_interleave(n, dim=0)
        noise = rng.normal(mean.shape, mean.dtype, mean.device)
        ahead = self.denoiser(torch.add(mean, noise, alpha=proposal.std), s, repeat(cond, n))
        direction, misfit = self._fitted(self.operator(ahead.x0), noise)
        return State(
            torch.add(proposal.mean, direction, alpha=proposal.std), memory=memory, energy=misfit
        )

    def _fitted(self, out: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return the direction (B, ...) of length sqrt(d), and the mean misfit (B,)."""
        n = self.candidates
        scale = self.operator.noise.to(out)
        residual = ((out - self.operator.measured(len(out)).to(out)) / scale).unflatten(0, (-1, n))
        valid = ~residual.isnan().any(-1, keepdim=True)
        count = valid.sum(1, keepdim=True).clamp(min=1)
        mean = residual.where(valid, 0.0).sum(1, keepdim=True) / count
        centred = (residual - mean).where(valid, 0.0)
        e = noise.flatten(1).unflatten(0, (-1, n))
        # A^T (y - mean G), without A itself: the candidates' votes for their own noise.
        votes = -(centred @ mean.mT)  # (B, n, 1)
        direction = (votes * e).sum(1)
        length = direction.norm(dim=1, keepdim=True)
        direction = math.sqrt(e.shape[-1]) * direction / length.clamp(min=1e-30)
        direction = torch.where(length > 0, direction, e[:, 0])
        misfit = 0.5 * mean.square().sum((1, 2))
        return direction.reshape(-1, *noise.shape[1:]).to(noise.dtype), misfit
