r"""Zeroth-order DPS: the gradient of the misfit from differences, through the denoiser."""

from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from guided.denoiser import Prediction
from guided.operator import Operator
from guided.rng import Rng
from guided.sampler import Sampler, State, StepWrapper
from guided.schedule import Level


class ZeroOrderDPS(StepWrapper):
    r"""DPS with a forward map that has no gradient: Gaussian smoothing stands in for it.

    .. math::
        g &= \tfrac{1}{K \mu} \sum_k (L(x_0 + \mu u^k) - L(x_0))\, u^k, \quad
        L(x_0) = \| y - G(x_0) \|^2, \quad u^k \sim N(0, I), \\
        x_s &\leftarrow x_s - \zeta\, \nabla x_0(x_t)^T g \,/\, (2 \sqrt{L(x_0)}),

    or, ``central``, half the difference between :math:`x_0 + \mu u` and :math:`x_0 - \mu u`. The
    factor behind zeta makes it the gradient of the norm, as in DPS, to which it tends as mu falls
    and K grows; the error of g is about :math:`\sqrt{d / K}` of it. It converges to no posterior.

    Costs one vector-Jacobian product of the network a step, and per sample K + 1 evaluations of the
    forward map (``forward``) or 2 K + 1 (``central``).

    Args:
        sampler: the sampler whose step is moved.
        operator: any forward map; an evaluation that fails contributes nothing.
        scale: zeta, in units of x; 0 is neutral.
        queries: K.
        radius: mu, in units of x0.
        difference: one of the above.

    Raises:
        ValueError: for numbers out of range.

    Source: Zheng et al. 2024 (arXiv 2409.20175), appendix (forward- and central-GSG); Nesterov &
        Spokoiny 2017, Random gradient-free minimization of convex functions.
    """

    def __init__(
        self,
        sampler: Sampler,
        operator: Operator,
        scale: float = 1.0,
        queries: int = 64,
        radius: float = 0.01,
        difference: Literal["forward", "central"] = "central",
    ) -> None:
        super().__init__(sampler)
        if queries < 1 or not radius > 0 or difference not in ("forward", "central"):
            raise ValueError(
                f"ZeroOrderDPS needs queries >= 1, radius > 0 and 'forward' or 'central', got "
                f"{queries}, {radius} and {difference!r}"
            )
        self.operator, self.scale, self.queries = operator, scale, queries
        self.radius, self.difference = radius, difference

    def step(self, state: State, t: Level, s: Level, cond: Any, rng: Rng) -> State:
        """Move from t to s and down the smoothed misfit."""
        if self.scale == 0:
            return self.sampler.step(state, t, s, cond, rng)
        with torch.enable_grad():
            x = state.x.detach().requires_grad_()
            prediction = self.denoiser(x, t, cond)
            pull = self._slope(prediction.x0.detach(), rng)
            (slope,) = torch.autograd.grad((prediction.x0 * pull).sum(), x)
        prediction = Prediction(*(part.detach() for part in prediction))
        moved = self.sampler.step(replace(state, prediction=prediction), t, s, cond, rng)
        return replace(moved, x=moved.x - self.scale * slope, prediction=None)

    @torch.no_grad()
    def _slope(self, x0: Tensor, rng: Rng) -> Tensor:
        """Return the smoothed gradient of the norm of the misfit at x0 (B, ...)."""
        K, mu = self.queries, self.radius
        many = x0.repeat_interleave(K, dim=0)
        u = rng.normal(many.shape, many.dtype, many.device)
        here = self._misfit(x0)
        ahead = self._misfit(torch.add(many, u, alpha=mu))
        if self.difference == "central":
            change = (ahead - self._misfit(torch.add(many, u, alpha=-mu))) / 2
        else:
            change = ahead - here.repeat_interleave(K)
        weights = change.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0) / (K * mu)
        g = (weights[:, None] * u.flatten(1)).unflatten(0, (-1, K)).sum(1)
        norm = 2 * here.sqrt().clamp(min=1e-12)[:, None]
        return (g / norm).nan_to_num(nan=0.0).reshape(x0.shape)

    def _misfit(self, x0: Tensor) -> Tensor:
        out = self.operator(x0)
        return (out - self.operator.measured(len(out)).to(out)).square().sum(1)
