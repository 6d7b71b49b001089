r"""Heun's second-order method on the probability flow."""

from typing import Any

import torch

from guided.denoiser import Prediction
from guided.rng import Rng
from guided.sampler import Gaussian, Sampler, State
from guided.samplers.ddim import ddim_kernel
from guided.schedule import Level


class Heun(Sampler):
    r"""Second order: an Euler (DDIM) step, then the average of both ends' noise.

    In :math:`\bar x = x / \alpha` and :math:`r = \sigma / \alpha` the flow is
    :math:`d\bar x / dr = \varepsilon`, so one step is the trapezoidal rule

    .. math:: \bar x_s = \bar x_t + \tfrac12 (r_s - r_t)(\varepsilon_t + \varepsilon_s).

    A prediction whose x0 was moved alone (MPGD, CFG++) moves the Euler step, as it moves DDIM's.
    Where alpha_t is 0 (pure noise) the ratio is infinite and the step is DDIM's; so is the last
    one, as in the source. Two network calls a step, one in the last.

    Source: Karras et al. 2022, algorithm 1.
    """

    order = 2

    def kernel(self, prediction: Prediction, t: Level, s: Level, memory: Any = None) -> Gaussian:
        """Return the (deterministic) Euler step."""
        return ddim_kernel(prediction, t, s)

    def step(self, state: State, t: Level, s: Level, cond: Any, rng: Rng) -> State:
        """Move from t to s with a correction at s."""
        here = self.predict(state, t, cond)
        euler = self.kernel(here, t, s).mean
        if s.sigma == 0 or t.alpha == 0:
            return State(euler)
        there = self.denoiser(euler, s, cond)
        half = 0.5 * s.alpha * (s.noise_to_signal - t.noise_to_signal)
        # Added to the Euler step, which alone looks at x0.
        return State(torch.add(euler, there.eps - here.eps, alpha=half))
