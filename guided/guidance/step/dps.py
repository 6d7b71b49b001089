r"""Diffusion posterior sampling: the gradient of the misfit, through the denoiser."""

from dataclasses import replace
from typing import Any

import torch

from guided.energy import require_differentiable
from guided.operator import Operator
from guided.rng import Rng
from guided.sampler import Sampler, State, StepWrapper
from guided.schedule import Level


class DPS(StepWrapper):
    r"""Pulls every step down the misfit of its own clean estimate.

    .. math:: x_s \leftarrow x_s - \zeta\, \nabla_{x_t} \| y - G(x_0(x_t, t)) \|

    The norm is per sample and not squared, which makes the step length independent of the misfit:
    a tuned heuristic. It converges to no posterior: the noise of y is used nowhere.

    Costs one vector-Jacobian product of the network, and one of the forward map, a step.

    Args:
        sampler: the sampler whose step is moved.
        operator: a differentiable forward map and what was measured.
        scale: zeta, in units of x; 0 is neutral.

    Raises:
        TypeError: for an operator that is a black box.

    Source: Chung et al. 2023, Diffusion posterior sampling for general noisy inverse problems,
        algorithm 1, and its code (the norm is not squared there).
    Differs: one norm per sample, where the code takes one over the batch.
    """

    def __init__(self, sampler: Sampler, operator: Operator, scale: float = 1.0) -> None:
        super().__init__(sampler)
        require_differentiable(operator, "DPS")
        self.operator, self.scale = operator, scale

    def step(self, state: State, t: Level, s: Level, cond: Any, rng: Rng) -> State:
        """Move from t to s and down the misfit."""
        if self.scale == 0:
            return self.sampler.step(state, t, s, cond, rng)
        with torch.enable_grad():
            x = state.x.detach().requires_grad_()
            prediction = self.denoiser(x, t, cond)
            residual = self.operator(prediction.x0) - self.operator.measured(len(x)).to(x)
            norm = residual.norm(dim=1)
            (slope,) = torch.autograd.grad(norm.sum(), x)
        prediction = type(prediction)(*(part.detach() for part in prediction))
        moved = self.sampler.step(replace(state, prediction=prediction), t, s, cond, rng)
        return replace(moved, x=moved.x - self.scale * slope, prediction=None)
