"""Past guidance: the weak branch is what the run itself believed before."""

from dataclasses import replace
from typing import Any, NamedTuple

from torch import Tensor

from guided.denoiser import Prediction
from guided.guidance.denoise.contrast import DeltaOp
from guided.guidance.scale import Scale, checked, neutral, per_row, weight
from guided.guidance.space import moved
from guided.guidance.step.one_contrast import require_one_prediction
from guided.rng import Rng
from guided.sampler import Sampler, State, StepWrapper
from guided.schedule import Level


class Believed(NamedTuple):
    """The memory of the sampler, and the running mean of past clean estimates (B, ...)."""

    inner: Any
    mean: Tensor


class PastGuidance(StepWrapper):
    r"""Pushes the clean estimate away from the running mean of those of the steps before.

    .. math:: \hat D_t = D_t + (w - 1)\, R(D_t - M), \qquad M \leftarrow \beta M + (1 - \beta) D_t,

    where M starts as the first estimate, so that the first step is the sampler's own. x0 and eps
    stay consistent. As D sharpens while noise falls, its past is a blurred version of it. The push
    is larger the longer the steps are, and vanishes where they are short and beta is fixed.

    Costs no network call and one tensor of the size of x.

    Args:
        sampler: one that predicts once a step, such as DDIM or DPMpp2M, of any denoiser, guided or
            not.
        scale: w; 1 is neutral.
        decay: beta in [0, 1); 0 remembers the step before alone.
        ops: R, applied in order to the difference, the estimate and its past, in x0; none is the
            identity.

    Raises:
        TypeError: for another sampler.
        ValueError: for a decay out of range or a scale that is not finite.

    Source: Sadat et al. 2025, HiGS: History-guided sampling for plug-and-play enhancement of
        diffusion models (arXiv 2509.22300); Liao et al. 2026, Momentum guidance
        (arXiv 2602.20360), for flow models.
    Differs: a constant scale, no projection and no high-pass filter unless ``ops`` has them, and
        the mean of unpushed estimates; momentum guidance averages velocities.
    """

    def __init__(
        self,
        sampler: Sampler,
        scale: Scale,
        decay: float = 0.5,
        ops: tuple[DeltaOp, ...] = (),
    ) -> None:
        super().__init__(sampler)
        require_one_prediction(type(self).__name__, sampler)
        if not 0 <= decay < 1:
            raise ValueError(f"the decay of a running mean is in [0, 1), got {decay}")
        self.scale, self.decay, self.ops = checked(scale, type(self).__name__), decay, ops
        self.neutral = neutral(self.scale)

    def bare_memory(self, memory: Any) -> Any:
        """Return the part of the memory that is the sampler's."""
        return memory.inner if isinstance(memory, Believed) else memory

    def step(self, state: State, t: Level, s: Level, cond: Any, rng: Rng) -> State:
        """Move from t to s, away from the past."""
        if self.neutral:
            return self.sampler.step(state, t, s, cond, rng)
        past = state.memory.mean if isinstance(state.memory, Believed) else None
        inner = self.bare_memory(state.memory)
        prediction = self.predict(state, t, cond)
        mean = prediction.x0 if past is None else prediction.x0.lerp(past, self.decay)
        if past is not None:
            prediction = self._pushed(prediction, past, t)
        after = self.sampler.step(
            replace(state, prediction=prediction, memory=inner), t, s, cond, rng
        )
        return replace(after, memory=Believed(after.memory, mean))

    def _pushed(self, prediction: Prediction, past: Tensor, t: Level) -> Prediction:
        push = prediction.x0 - past
        for op in self.ops:
            push = op(push, prediction.x0, past)
        w = per_row(weight(self.scale, t), push)
        return moved(prediction, (w - 1) * push, t, "x0")
