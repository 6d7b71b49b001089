r"""Limits a method to an interval of noise levels; works for denoise- and step-level methods."""

from dataclasses import replace
from typing import Any, overload

from torch import Tensor

from guided.denoiser import Denoiser, DenoiserWrapper, Prediction
from guided.guidance.scale import require_interval
from guided.rng import Rng
from guided.sampler import Sampler, State, StepWrapper
from guided.schedule import Level


class BetweenDenoise(DenoiserWrapper):
    """A denoise-level method inside the interval, the denoiser it wraps outside."""

    def __init__(self, method: DenoiserWrapper, low: float, high: float) -> None:
        super().__init__(method)
        self.low, self.high = low, high
        self.bare: Denoiser = method.bare if isinstance(method, BetweenDenoise) else method.denoiser

    def forward(self, x: Tensor, level: Level, cond: Any = None) -> Prediction:
        """Predict with or without the method."""
        inside = self.low < level.noise_to_signal <= self.high
        return (self.denoiser if inside else self.bare)(x, level, cond)


class BetweenStep(StepWrapper):
    """A step-level method inside the interval (judged at t), the sampler it wraps outside."""

    def __init__(self, method: StepWrapper, low: float, high: float) -> None:
        super().__init__(method)
        self.low, self.high = low, high
        self.method = method
        self.bare: Sampler = method.bare if isinstance(method, BetweenStep) else method.sampler

    def bare_memory(self, memory: Any) -> Any:
        """Return the part of the memory that is the sampler's."""
        return self.method.bare_memory(memory)

    def step(self, state: State, t: Level, s: Level, cond: Any, rng: Rng) -> State:
        """Step with or without the method, which begins anew where it comes back."""
        if self.low < t.noise_to_signal <= self.high:
            return self.sampler.step(state, t, s, cond, rng)
        state = replace(state, memory=self.bare_memory(state.memory))
        return self.bare.step(state, t, s, cond, rng)


@overload
def Between(method: DenoiserWrapper, low: float = ..., high: float = ...) -> BetweenDenoise: ...
@overload
def Between(method: StepWrapper, low: float = ..., high: float = ...) -> BetweenStep: ...
def Between(
    method: DenoiserWrapper | StepWrapper, low: float = 0.0, high: float = float("inf")
) -> BetweenDenoise | BetweenStep:
    r"""Apply a guidance method only where :math:`low < \sigma / \alpha \le high`.

    Outside, what the method wraps is used, and the method costs nothing: for CFG that is the
    conditional model, not the unconditional one. The bounds are ratios of noise to signal, the
    sigma of EDM; divide those of a paper by its sigma_data and multiply by yours. ``low = 0`` and
    ``high = inf`` is the method itself, ``low = high`` switches it off.

    Raises:
        TypeError: if ``method`` wraps nothing, or counts on every step of a run.
        ValueError: for an interval that is turned round.

    Source: Kynkaanniemi et al. 2024, Applying guidance in a limited interval, section 3.
    Differs: judged by the level of each evaluation, not by the step index.
    """
    require_interval(low, high)
    if isinstance(method, DenoiserWrapper):
        return BetweenDenoise(method, low, high)
    if isinstance(method, StepWrapper) and method.needs_all_steps:
        raise TypeError(
            f"{type(method).__name__} weighs particles from the first step to the last, and leaves "
            f"none out; let its energy be flat where it should do nothing"
        )
    if isinstance(method, StepWrapper):
        return BetweenStep(method, low, high)
    given = "a plain Sampler" if isinstance(method, Sampler) else type(method).__name__
    raise TypeError(
        f"Between limits a guidance method (a DenoiserWrapper or StepWrapper), got {given}; e.g. "
        f"DDIM(Between(CFG(denoiser, ...), low=0.2, high=5))"
    )
