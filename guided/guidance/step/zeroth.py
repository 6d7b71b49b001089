r"""Zeroth-order DPS: the gradient of the misfit from differences, through the denoiser."""

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from guided.denoiser import Prediction
from guided.guidance.smoothing import Difference, Estimate, Smoothing
from guided.operator import Operator
from guided.rng import Rng
from guided.sampler import Sampler, State, StepWrapper
from guided.schedule import Level


class Followed(NamedTuple):
    """The memory of the sampler, and the last estimate; axis 0 = sample."""

    inner: Any
    estimate: Estimate


class ZeroOrderDPS(StepWrapper):
    r"""DPS with a forward map that has no gradient: Gaussian smoothing stands in for it.

    .. math::
        g &= \tfrac{1}{K \mu} \sum_k (L(x_0 + \mu u^k) - L(x_0))\, u^k, \quad
        L(x_0) = \| y - G(x_0) \|^2, \quad u^k \sim N(0, I), \\
        x_s &\leftarrow x_s - \zeta\, \nabla x_0(x_t)^T g \,/\, (2 \sqrt{L(x_0)}),

    or, ``central``, half the difference between :math:`x_0 + \mu u` and :math:`x_0 - \mu u`. The
    factor behind zeta makes it the gradient of the norm, as in DPS, to which it tends as mu falls
    and K grows; the error of g is about :math:`\sqrt{d / K}` of it. It converges to no posterior.

    A ``refresh`` below 1 spends fewer evaluations: only with that probability the estimate is made
    anew with K directions; else the last one is corrected by what ``few`` directions say of the
    change from the last x0 to this one. That pays where x0 moves little between steps, as it does
    in fine grids near data.

    Costs one vector-Jacobian product of the network a step, and per sample K + 1 evaluations of the
    forward map (``forward``) or 2 K + 1 (``central``); with p = ``refresh``, after the first step,
    p K + 2 (1 - p) k + 1 or 2 p K + 4 (1 - p) k + 1 in the mean, for k = ``few``.

    Args:
        sampler: the sampler whose step is moved.
        operator: any forward map; an evaluation that fails contributes nothing.
        scale: zeta, in units of x; 0 is neutral.
        queries: K.
        radius: mu, in units of x0.
        difference: one of the above.
        refresh: probability of a new estimate, per sample and step; 1 is neutral.
        few: directions of a correction, at most K.

    Raises:
        ValueError: for numbers out of range.

    Source: Zheng et al. 2024 (arXiv 2409.20175), appendix (forward- and central-GSG); Nesterov &
        Spokoiny 2017, Random gradient-free minimization of convex functions; Li et al. 2021, PAGE,
        algorithm 1 (refresh), as in ZO-APMC (arXiv 2605.30573).
    """

    def __init__(
        self,
        sampler: Sampler,
        operator: Operator,
        scale: float = 1.0,
        queries: int = 64,
        radius: float = 0.01,
        difference: Difference = "central",
        refresh: float = 1.0,
        few: int = 4,
    ) -> None:
        super().__init__(sampler)
        if queries < 1 or not radius > 0 or difference not in ("forward", "central"):
            raise ValueError(
                f"ZeroOrderDPS needs queries >= 1, radius > 0 and 'forward' or 'central', got "
                f"{queries}, {radius} and {difference!r}"
            )
        if not 0 < refresh <= 1 or (refresh < 1 and not 1 <= few <= queries):
            raise ValueError(
                f"ZeroOrderDPS needs refresh in (0, 1] and 1 to {queries} few directions, got "
                f"{refresh} and {few}"
            )
        self.smoothing = Smoothing(operator, radius, difference)
        self.scale, self.queries, self.refresh, self.few = scale, queries, refresh, few

    def bare_memory(self, memory: Any) -> Any:
        """Return the part of the memory that is the sampler's."""
        return memory.inner if isinstance(memory, Followed) else memory

    def step(self, state: State, t: Level, s: Level, cond: Any, rng: Rng) -> State:
        """Move from t to s and down the smoothed misfit."""
        if self.scale == 0:
            return self.sampler.step(state, t, s, cond, rng)
        past = state.memory if isinstance(state.memory, Followed) else None
        inner = self.bare_memory(state.memory)
        with torch.enable_grad():
            x = state.x.detach().requires_grad_()
            prediction = self.denoiser(x, t, cond)
            estimate = self._estimate(prediction.x0.detach(), past, rng)
            (slope,) = torch.autograd.grad((prediction.x0 * estimate.pull).sum(), x)
        prediction = Prediction(*(part.detach() for part in prediction))
        moved = self.sampler.step(
            replace(state, prediction=prediction, memory=inner), t, s, cond, rng
        )
        memory = moved.memory if self.refresh == 1 else Followed(moved.memory, estimate)
        return replace(moved, x=moved.x - self.scale * slope, prediction=None, memory=memory)

    def _estimate(self, x0: Tensor, past: Followed | None, rng: Rng) -> Estimate:
        if past is None:
            return self.smoothing.anew(x0, self.queries, rng)
        return self.smoothing.followed(x0, past.estimate, self.queries, self.few, self.refresh, rng)
