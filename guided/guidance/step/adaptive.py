"""Adaptive guidance: a contrast that ends, sample by sample, where both branches agree."""

import math
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from guided.denoiser import Prediction
from guided.guidance.branches import Call, evaluate
from guided.guidance.denoise.contrast import Pair
from guided.guidance.step.one_contrast import require_contrast, require_one_prediction
from guided.rng import Rng
from guided.sampler import Sampler, State, StepWrapper
from guided.schedule import Level


class Agreed(NamedTuple):
    """What a sample remembers.

    Args:
        inner: the memory of the sampler, a tree with axis 0 = sample.
        done: whether its guidance has ended (B,).
    """

    inner: Any
    done: Tensor


class AdaptiveGuidance(StepWrapper):
    r"""Guides a sample until its two noise estimates point the same way, and never again after.

    .. math:: \gamma_t = \frac{\langle \varepsilon_s, \varepsilon_w \rangle}
              {|\varepsilon_s| |\varepsilon_w|}, \qquad
              \gamma_t > \bar\gamma \;\Rightarrow\; \hat D = D_s
              \text{ in all steps after t}.

    A step costs one network call (two where the weak branch is another network): the strong rows
    of all samples, and the weak rows of those that are still guided. Which these are, the host has
    to know, so every step waits for the device. A network that has numbers per request inside is
    called for all rows, and in a call of its own.

    The cosine is close to 1 in thousands of dimensions, where the source's thresholds are from; in
    a few, look for another one. It is 1 as well where there is noise alone, as both branches then
    see nothing but x: a grid that starts far up needs ``high``.

    Args:
        sampler: one that predicts once a step, such as DDIM or DPMpp2M, of a contrast with one
            term, such as CFG.
        threshold: gamma bar in [-1, 1]; 1 is neutral (the contrast in all steps), -1 guides the
            first step alone. The source's is 0.991, with 20 steps.
        high: noise-to-signal up to which the branches can agree; infinity is neutral.

    Raises:
        TypeError: for another sampler or denoiser.
        ValueError: for another threshold, or a ``high`` that is not positive.

    Source: Castillo et al. 2023, Adaptive guidance: Training-free acceleration of conditional
        diffusion models (arXiv 2312.12487), AG.
    """

    def __init__(self, sampler: Sampler, threshold: float = 0.991, high: float = math.inf) -> None:
        super().__init__(sampler)
        require_one_prediction(type(self).__name__, sampler)
        self.contrast, self.term, self.weak = require_contrast(type(self).__name__, sampler)
        if not -1 <= threshold <= 1:
            raise ValueError(
                f"the threshold of a cosine is in [-1, 1], got {threshold}; 1 guides in all steps"
            )
        if not high > 0:
            raise ValueError(f"the ratio of noise to signal is positive, got high={high}")
        self.threshold, self.high = threshold, high

    def bare_memory(self, memory: Any) -> Any:
        """Return the part of the memory that is the sampler's."""
        return memory.inner if isinstance(memory, Agreed) else memory

    def step(self, state: State, t: Level, s: Level, cond: Any, rng: Rng) -> State:
        """Move from t to s, guided where the branches have not agreed yet."""
        x, inner = state.x, self.bare_memory(state.memory)
        if isinstance(state.memory, Agreed):
            done = state.memory.done
        else:
            done = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        prediction, done = self._guided(Call(self.contrast.denoiser, x, t, cond), done)
        moved = self.sampler.step(
            replace(state, prediction=prediction, memory=inner), t, s, cond, rng
        )
        return replace(moved, memory=Agreed(moved.memory, done))

    def _guided(self, call: Call, done: Tensor) -> tuple[Prediction, Tensor]:
        """Return the prediction (B, ...), and who is done after it (B,)."""
        rows = torch.nonzero(~done)[:, 0]
        active = self.contrast.active(call.level)
        if not active or not len(rows):
            return evaluate([call])[0], done
        asked = self.weak(call.take(rows))
        if call.denoiser.by_place or asked.denoiser.by_place:
            rows = torch.arange(len(done), device=done.device)
            asked = self.weak(call)
        strong, found = evaluate([call, asked])
        weak = Prediction(*(a.index_copy(0, rows, b) for a, b in zip(strong, found, strict=True)))
        # Of all rows, as scales and ops may tell requests by their place in the batch.
        pair = Pair(self.term, active[0][1], strong, weak)
        guided = self.contrast.combine(call.level, strong, [pair])
        off = done.reshape(-1, *[1] * (call.x.ndim - 1))
        kept = Prediction(*(torch.where(off, a, b) for a, b in zip(strong, guided, strict=True)))
        if call.level.noise_to_signal <= self.high:
            done = done | (_cosine(strong.eps, weak.eps) > self.threshold)
        return kept, done


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    found = torch.cosine_similarity(a.flatten(1).double(), b.flatten(1).double(), dim=1)
    return found.clamp(max=1.0)  # so that a threshold of 1 is never passed by rounding
