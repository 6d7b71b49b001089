"""Predictor and corrector: steps of one model, and Langevin steps of another at every level."""

import math
import warnings
from dataclasses import replace
from typing import Any, Literal

import torch

from guided.denoiser import Denoiser
from guided.rng import Rng
from guided.sampler import Sampler, State, StepWrapper
from guided.schedule import Level


class PredictorCorrector(StepWrapper):
    r"""Corrects x_s by K Langevin steps after every step of the sampler.

    With the corrector's noise estimate, whose score is :math:`-\varepsilon / \sigma`,

    .. math:: x \leftarrow x - \frac{\delta}{2 \sigma_s}\, \varepsilon(x, s) + \sqrt\delta\, z.

    ``"matched"`` takes the variance that the forward process adds between s and t,
    :math:`\delta = \sigma_t^2 - (\alpha_t / \alpha_s)^2 \sigma_s^2`. With it, in short steps, DDIM
    of the conditional model and one Langevin step of CFG with scale :math:`2 \gamma - 1` are DDPM
    of CFG with scale gamma: CFG corrects towards
    :math:`p(x|c)^{2 \gamma - 1} p(x)^{2 - 2 \gamma}` at every level, and lags behind it. With many
    corrections a level, the samples are those of the corrector's law. A Langevin step is stable for
    :math:`\delta < 4 \sigma_s^2`, and biased by its own length: for ``matched`` neighbouring
    levels must be close.

    It explains CFG rather than replaces it: each correction costs one call of the corrector, two
    rows per sample for CFG. The step to data is not corrected.

    Args:
        sampler: the predictor, e.g. ``DDIM(denoiser)``.
        corrector: the denoiser whose law is sampled at every level, e.g. ``CFG(denoiser, ...)``.
        steps: K; 0 is neutral.
        step_size: ``"matched"``, or a number r for :math:`\delta = r \sigma_s^2`.

    Raises:
        TypeError: for a corrector that is no denoiser.
        ValueError: for one of another schedule, or numbers out of range.

    Source: Bradley & Nakkiran 2024, Classifier-free guidance is a predictor-corrector
        (arXiv 2408.09000), section 4 and algorithm 2.
    """

    def __init__(
        self,
        sampler: Sampler,
        corrector: Denoiser,
        steps: int = 1,
        step_size: float | Literal["matched"] = "matched",
    ) -> None:
        super().__init__(sampler)
        if not isinstance(corrector, Denoiser):
            raise TypeError(
                f"PredictorCorrector corrects with a Denoiser, got {type(corrector).__name__}; "
                f"e.g. PredictorCorrector(DDIM(denoiser), CFG(denoiser, ...))"
            )
        if corrector.schedule != sampler.denoiser.schedule:
            raise ValueError(
                f"the corrector has the schedule {corrector.schedule}, the sampler "
                f"{sampler.denoiser.schedule}; both must mean the same noise"
            )
        if steps < 0:
            raise ValueError(f"PredictorCorrector takes 0 or more corrections, got {steps}")
        if step_size != "matched" and not (isinstance(step_size, int | float) and step_size > 0):
            raise ValueError(f"the step size is 'matched' or a positive number, got {step_size!r}")
        self.corrector, self.steps, self.step_size = corrector, steps, step_size

    def step(self, state: State, t: Level, s: Level, cond: Any, rng: Rng) -> State:
        """Move from t to s, and correct there."""
        moved = self.sampler.step(state, t, s, cond, rng)
        if self.steps == 0 or s.sigma == 0:
            return moved
        x, delta = moved.x, self._delta(t, s)
        for _ in range(self.steps):
            eps = self.corrector(x, s, cond).eps
            noise = rng.normal(x.shape, x.dtype, x.device)
            x = torch.add(x, eps, alpha=-0.5 * delta / s.sigma).add(noise, alpha=math.sqrt(delta))
        return replace(moved, x=x, prediction=None)

    def _delta(self, t: Level, s: Level) -> float:
        if not isinstance(self.step_size, str):
            return self.step_size * s.sigma**2
        delta = t.sigma**2 - (t.alpha / s.alpha) ** 2 * s.sigma**2
        if delta > 4 * s.sigma**2:
            warnings.warn(
                f"a correction of {delta / s.sigma**2:.3g} sigma^2 diverges (4 is the limit); take "
                f"more steps, or give a step size below 4",
                stacklevel=2,
            )
        return delta
