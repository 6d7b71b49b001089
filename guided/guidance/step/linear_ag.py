"""Linear adaptive guidance: the weak branch of some steps is foretold from earlier predictions."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from guided.guidance.branches import Call, evaluate
from guided.guidance.denoise.contrast import Contrast, Pair
from guided.guidance.space import moved
from guided.guidance.step.linear_table import LinearTable
from guided.guidance.step.one_contrast import (
    require_contrast,
    require_one_prediction,
    require_weight,
)
from guided.rng import Rng
from guided.sampler import Sampler, State, StepWrapper
from guided.schedule import Level


class Recorded(NamedTuple):
    """What a sample remembers.

    Args:
        inner: the memory of the sampler, a tree with axis 0 = sample.
        strong: the strong noise estimates so far, each (B, ...).
        weak: the weak ones that were evaluated, each (B, ...).
    """

    inner: Any
    strong: tuple[Tensor, ...]
    weak: tuple[Tensor, ...]


class LinearAG(StepWrapper):
    r"""Foretells the weak noise estimate of some steps from earlier estimates of the same run.

    .. math:: \hat\varepsilon_w(t_i) = \sum_{j \le i} \beta_{ij}\, \varepsilon_s(t_j)
              + \sum_{j < i} \beta'_{ij}\, \varepsilon_w(t_j),

    with numbers from :func:`fit_linear_ag`, and where j runs over the steps that were evaluated.
    Noise estimates of neighbouring levels are nearly linear in each other where noise is high, so
    that every other step of the first half is foretold. Exact where both laws are isotropic
    Gaussians and the sampler is deterministic.

    Costs one row less per sample and foretold step, and remembers all estimates up to the last one.

    Args:
        sampler: one that predicts once a step, such as DDIM or DPMpp2M, of a contrast with one
            term, such as CFG; the one that the table was fitted on.
        table: the numbers; one that foretells nothing is neutral.

    Raises:
        TypeError: for another sampler or denoiser.
        ValueError: in the run, for another time grid.

    Source: Castillo et al. 2023, Adaptive guidance: Training-free acceleration of conditional
        diffusion models (arXiv 2312.12487), LinearAG.
    Differs: foretold estimates foretell nothing themselves.
    """

    def __init__(self, sampler: Sampler, table: LinearTable) -> None:
        super().__init__(sampler)
        require_one_prediction(type(self).__name__, sampler)
        self.contrast, self.term, _ = require_contrast(type(self).__name__, sampler)
        self.table = table

    def bare_memory(self, memory: Any) -> Any:
        """Return the part of the memory that is the sampler's."""
        return memory.inner if isinstance(memory, Recorded) else memory

    def step(self, state: State, t: Level, s: Level, cond: Any, rng: Rng) -> State:
        """Move from t to s, with the weak branch foretold where the table says so."""
        step, inner = self._index(t), self.bare_memory(state.memory)
        if step > self.table.last:
            return self.sampler.step(replace(state, memory=inner), t, s, cond, rng)
        past = state.memory if isinstance(state.memory, Recorded) else Recorded(inner, (), ())
        if len(past.strong) != step:
            raise ValueError(
                f"LinearAG remembers {len(past.strong)} steps at step {step}; it needs all steps "
                f"from the first one on"
            )
        call = Call(self.contrast.denoiser, state.x, t, cond)
        pair, past = self._pair(call, past, step)
        guided = self.contrast.combine(t, pair.strong, [pair])
        after = self.sampler.step(replace(state, prediction=guided, memory=inner), t, s, cond, rng)
        return replace(after, memory=past._replace(inner=after.memory))

    def _index(self, t: Level) -> int:
        if t.t not in self.table.times:
            raise ValueError(
                f"the table of LinearAG has no step from t={t.t:.6g}; fit it on the time grid of "
                f"the run, with fit_linear_ag"
            )
        return self.table.times.index(t.t)

    def _pair(self, call: Call, past: Recorded, step: int) -> tuple[Pair, Recorded]:
        """Return both predictions, and what is remembered of them."""
        factors = self.table.weights.get(step)
        if factors is None:
            pair = _both(self.contrast, call)
            strong, weak = (*past.strong, pair.strong.eps), (*past.weak, pair.weak.eps)
            return pair, Recorded(None, strong, weak)
        w = require_weight(self.contrast, call.level, "LinearAG")
        prediction = evaluate([call])[0]
        strong = (*past.strong, prediction.eps)
        eps = torch.zeros_like(prediction.eps)
        for factor, part in zip(factors, strong + past.weak, strict=True):
            eps = torch.add(eps, part, alpha=factor)
        foretold = moved(prediction, eps - prediction.eps, call.level, "eps")
        return Pair(self.term, w, prediction, foretold), Recorded(None, strong, past.weak)


@torch.no_grad()
def fit_linear_ag(
    sampler: Sampler,
    x: Tensor,
    times: Sequence[float],
    cond: Any = None,
    *,
    rng: Rng,
    steps: Sequence[int] | None = None,
    ridge: float = 1e-8,
) -> LinearTable:
    """Fit the table of :class:`LinearAG` on runs with both branches in every step.

    All numbers of all samples are rows of one least squares problem per foretold step.

    Args:
        sampler: that of the runs.
        x: x_T (B, ...), a few hundred samples; fewer do where they have many numbers.
        times: the grid.
        cond: their conditions, as varied as those to come.
        rng: the source of all randomness.
        steps: which steps to foretell, none of them 0; None is every other step of the first half.
        ridge: penalty on the squared factors, relative to the mean square of an estimate; larger
            factors amplify the errors of the network.

    Returns:
        The table.

    Raises:
        TypeError: for a sampler that LinearAG refuses.
        ValueError: for steps that do not exist, or where the scale is 1.
    """
    require_one_prediction("LinearAG", sampler)
    contrast, _, _ = require_contrast("LinearAG", sampler)
    levels = sampler.denoiser.schedule.levels(times)
    count = len(levels) - 1
    chosen = sorted(set(range(1, (count + 1) // 2, 2) if steps is None else steps))
    if any(not 0 < step < count for step in chosen):
        raise ValueError(f"steps 1 to {count - 1} of {count} can be foretold, got {chosen}")
    state = State(x)
    strong: list[Tensor] = []
    weak: list[Tensor] = []
    weights: dict[int, tuple[float, ...]] = {}
    for step, (t, s) in enumerate(pairwise(levels[: max(chosen, default=-1) + 2])):
        pair = _both(contrast, Call(contrast.denoiser, state.x, t, cond))
        strong.append(pair.strong.eps)
        if step in chosen:
            weights[step] = _least_squares(strong + weak, pair.weak.eps, ridge)
        else:
            weak.append(pair.weak.eps)
        guided = contrast.combine(t, pair.strong, [pair])
        state = sampler.step(replace(state, prediction=guided), t, s, cond, rng)
    return LinearTable(tuple(level.t for level in levels), weights)


def _both(contrast: Contrast, call: Call) -> Pair:
    """Evaluate both branches of a contrast with one term.

    Raises:
        ValueError: where the term is neutral.
    """
    require_weight(contrast, call.level, "LinearAG")
    return contrast.predictions(call)[1][0]


def _least_squares(parts: list[Tensor], target: Tensor, ridge: float) -> tuple[float, ...]:
    # Normal equations: a few numbers whatever the size of the samples is.
    a = torch.stack([part.flatten().double() for part in parts])
    gram = a @ a.mT
    penalty = ridge * gram.diagonal().mean() * torch.eye(len(a)).to(gram)
    return tuple(torch.linalg.solve(gram + penalty, a @ target.flatten().double()).tolist())
