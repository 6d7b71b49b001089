r"""Guidance of the next noisy mean: the energy's gradient there, as if it were clean."""

import math
from dataclasses import replace
from typing import Any

from guided.energy import Energy, gradient, require_differentiable
from guided.guidance.clip import clipped, require_clip
from guided.operator import Operator, as_energy
from guided.rng import Rng
from guided.sampler import Sampler, State, StepWrapper
from guided.schedule import Level


class NextNoiseMean(StepWrapper):
    r"""Moves the mean of every step down the energy of that mean, then adds the noise.

    .. math:: \mu = \mathrm{mean}(x_s \mid x_t), \qquad
              x_s \leftarrow x_s - \mathrm{clip}(w \nabla E(\mu), -\tau, \tau).

    The mean is about :math:`\alpha_s x_0` and is read as if it were clean: a heuristic that is only
    right where noise is low. It samples no posterior.

    Costs one gradient of the energy a step; none passes through the denoiser.

    Args:
        sampler: the sampler whose step is moved.
        energy: differentiable, of clean samples; or an operator, whose energy is its likelihood.
        scale: w, the length of the step for a gradient of 1; 0 is neutral and takes no gradient.
        clip: tau, the longest move of an entry, in units of x; inf is no bound.

    Raises:
        TypeError: for an energy that is a black box.
        ValueError: for a clip that is not positive.

    Source: Janner et al. 2022, Planning with diffusion for flexible behavior synthesis,
        algorithm 1; Zhong et al. 2023, Guided conditional diffusion for controllable traffic
        simulation.
    Differs: the step is not multiplied by the kernel's variance, which is 0 for a deterministic
        sampler.
    """

    def __init__(
        self,
        sampler: Sampler,
        energy: Energy | Operator,
        scale: float = 1.0,
        clip: float = math.inf,
    ) -> None:
        super().__init__(sampler)
        require_differentiable(energy, "NextNoiseMean")
        require_clip(clip, "NextNoiseMean")
        self.energy = as_energy(energy)
        self.scale, self.clip = scale, clip

    def step(self, state: State, t: Level, s: Level, cond: Any, rng: Rng) -> State:
        """Move from t to s and down the energy."""
        if self.scale == 0:
            return self.sampler.step(state, t, s, cond, rng)
        prediction = self.predict(state, t, cond)
        mean = self.kernel(prediction, t, s, state.memory).mean
        energy, slope = gradient(lambda y: self.energy(y, cond), mean)
        moved = self.sampler.step(replace(state, prediction=prediction), t, s, cond, rng)
        x = moved.x - clipped(self.scale * slope, self.clip)
        return replace(moved, x=x, prediction=None, energy=energy)
