"""Momentum of the push: a running sum of the differences of the steps before."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from torch import Tensor

from guided.denoiser import Prediction
from guided.guidance.branches import Call
from guided.guidance.denoise.contrast import Contrast, Pair, Term
from guided.rng import Rng
from guided.sampler import Gaussian, Sampler, State, StepWrapper
from guided.schedule import Level


class Running(NamedTuple):
    """What Momentum remembers.

    Args:
        inner: the memory of the sampler.
        deltas: m of every term (B, ...), in its space; None where it was neutral.
    """

    inner: Any
    deltas: tuple[Tensor | None, ...]


class Momentum(StepWrapper):
    r"""Adds what is left of earlier differences to every difference of a contrast.

    .. math:: m \leftarrow (D_s - D_w) + \beta\, m, \qquad
              \hat D = D_s + \sum_i (w_i - 1)\, R_i(m_i)

    m takes the place of the difference before the ops of its term, so that APG's order is momentum,
    cap, projection. A negative beta pushes where the difference is new, a positive one keeps going.
    m is of one step of a run: the second evaluation of Heun's method has the plain difference, m
    starts with the run, and it begins anew where its term was neutral. It is kept in the space of
    the term.

    Costs nothing beyond the contrast. A prediction that the state carries is made anew, as it says
    nothing of its differences: a method around this one that looks ahead (SMC) pays for it.

    Args:
        sampler: a plain sampler of a :class:`Contrast`, such as ``DDIM(APG(...))``; other
            step-level methods go around Momentum.
        beta: what is left of m after a step, in (-1, 1); 0 is neutral. The paper of APG uses -0.75
            to -0.5.

    Raises:
        TypeError: for a sampler of another denoiser, or another step-level method inside.
        ValueError: for a beta outside (-1, 1).

    Source: Sadat et al. 2025, Eliminating oversaturation and artifacts of high guidance scales in
        diffusion models (arXiv 2410.02416).
    """

    def __init__(self, sampler: Sampler, beta: float) -> None:
        super().__init__(sampler)
        if isinstance(sampler, StepWrapper):
            raise TypeError(
                f"Momentum wraps a plain sampler, got {type(sampler).__name__}; put other "
                f"step-level methods around it, e.g. SMC(Momentum(DDPM(APG(...)), beta), ...)"
            )
        if not isinstance(sampler.denoiser, Contrast):
            raise TypeError(
                f"Momentum is of the differences of a Contrast, got a sampler of "
                f"{type(sampler.denoiser).__name__}; write e.g. Momentum(DDIM(APG(...)), beta)"
            )
        if not abs(beta) < 1:
            raise ValueError(f"Momentum needs a beta in (-1, 1), 0 for none, got {beta}")
        self.contrast, self.beta = sampler.denoiser, beta

    def predict(self, state: State, t: Level, cond: Any = None) -> Prediction:
        """Return the prediction with momentum."""
        if self.beta == 0:
            return self.sampler.predict(state, t, cond)
        return self._pushed(state, t, cond)[0]

    def kernel(self, prediction: Prediction, t: Level, s: Level, memory: Any = None) -> Gaussian:
        """Return the inner sampler's kernel."""
        return self.sampler.kernel(prediction, t, s, self.bare_memory(memory))

    @property
    def steps_by_kernel(self) -> bool:
        """Return whether there is no momentum, which is of whole steps."""
        return self.beta == 0 and self.sampler.steps_by_kernel

    def bare_memory(self, memory: Any) -> Any:
        """Return the part of the memory that is the sampler's."""
        return memory.inner if isinstance(memory, Running) else memory

    def step(self, state: State, t: Level, s: Level, cond: Any, rng: Rng) -> State:
        """Move from t to s by the prediction with momentum."""
        if self.beta == 0:
            return self.sampler.step(state, t, s, cond, rng)
        prediction, deltas = self._pushed(state, t, cond)
        inner = replace(state, prediction=prediction, memory=self.bare_memory(state.memory))
        moved = self.sampler.step(inner, t, s, cond, rng)
        return replace(moved, memory=Running(moved.memory, deltas))

    def _pushed(
        self, state: State, t: Level, cond: Any
    ) -> tuple[Prediction, tuple[Tensor | None, ...]]:
        """Return the prediction, and m of every term after it."""
        before: Sequence[Tensor | None] = [None] * len(self.contrast.terms)
        if isinstance(state.memory, Running):
            before = state.memory.deltas
        call = Call(self.contrast.denoiser, state.x, t, cond)
        strong, pairs = self.contrast.predictions(call)
        places = [_place(self.contrast.terms, pair) for pair in pairs]
        running = [
            self._kept(pair.term.delta(pair.strong, pair.weak, t), before[place])
            for pair, place in zip(pairs, places, strict=True)
        ]
        after = dict(zip(places, running, strict=True))
        prediction = self.contrast.combine(t, strong, pairs, running)
        return prediction, tuple(after.get(place) for place in range(len(before)))

    def _kept(self, delta: Tensor, before: Tensor | None) -> Tensor:
        return delta if before is None else delta.add(before, alpha=self.beta)


def _place(terms: Sequence[Term], pair: Pair) -> int:
    # By identity: equality would compare the tensors of their scales.
    return next(place for place, term in enumerate(terms) if term is pair.term)
