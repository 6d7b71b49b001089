r"""The outer two functions: a step from one level to the next, and the walk from noise to data.

    sample(x_T, times)            walks noise to data                     lasts one run
      step(state, t, s)           moves every particle from level t to s  lasts one step
        denoise(x, t, cond)       predicts the clean sample               lasts one network call

A :class:`StepWrapper` has the type of what it wraps, so step-level methods nest.
"""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from guided.cond import take
from guided.denoiser import Denoiser, Prediction
from guided.rng import Rng
from guided.schedule import Level


@dataclass(frozen=True)
class State:
    """Everything a run carries from step to step. A value: nothing in it is ever changed in place.

    Args:
        x: the particles (B, ...).
        prediction: the prediction at x, where a step already paid for it; else None.
        memory: what a multistep sampler remembers, a tree of tensors with axis 0 = particle.
        energy: the last energies a guidance method scored, (B,), for progress bars; else None.
    """

    x: Tensor
    prediction: Prediction | None = None
    memory: Any = None
    energy: Tensor | None = None

    def take(self, index: Tensor) -> "State":
        """Resample all of it: row i of the result is row ``index[i]``, history included."""
        return State(
            x=self.x[index],
            prediction=None if self.prediction is None else self.prediction.take(index),
            memory=take(self.memory, index),
            energy=None if self.energy is None else self.energy[index],
        )


@dataclass(frozen=True)
class Gaussian:
    """An isotropic normal law per particle: ``mean`` (B, ...) and a scalar ``std``."""

    mean: Tensor
    std: float

    def sample(self, n: int, rng: Rng) -> Tensor:
        """Draw n samples per particle, side by side: (B n, ...). A std of 0 draws nothing."""
        mean = self.mean if n == 1 else self.mean.repeat_interleave(n, dim=0)
        if self.std == 0:
            return mean
        noise = rng.normal(mean.shape, mean.dtype, mean.device)
        return torch.add(mean, noise, alpha=self.std)

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log N(x; mean, std^2 I), shape (B,).

        Raises:
            ValueError: for a deterministic kernel (std 0), which has no density.
        """
        if self.std == 0:
            raise ValueError("a kernel with std 0 has no density; use a sampler with eta > 0")
        z = ((x - self.mean) / self.std).flatten(1)
        log_norm = torch.log(torch.tensor(2 * torch.pi * self.std**2, dtype=x.dtype))
        return -0.5 * (z.square().sum(1) + z.shape[1] * log_norm)


class Sampler(ABC):
    """A rule for one step, and the walk made of such steps.

    Args:
        denoiser: the innermost function.

    Attributes:
        order: the order of convergence in the largest step, as a test measures it.
        stochastic: whether ``kernel`` draws noise, so that methods can choose between draws.

    Raises:
        TypeError: if ``denoiser`` is no :class:`Denoiser`.
    """

    order: int = 1
    stochastic: bool = False

    def __init__(self, denoiser: Denoiser) -> None:
        if not isinstance(denoiser, Denoiser):
            raise TypeError(
                f"{type(self).__name__} samples from a Denoiser, got {type(denoiser).__name__}; "
                f"step-level methods wrap the sampler, e.g. SCG(DDIM(denoiser), energy)"
            )
        self.denoiser = denoiser

    def predict(self, state: State, t: Level, cond: Any = None) -> Prediction:
        """Return the prediction at the state, reusing the one that it carries."""
        return state.prediction or self.denoiser(state.x, t, cond)

    @property
    def steps_by_kernel(self) -> bool:
        """Return whether a step is a draw from the kernel and no more, which others may draw."""
        return type(self).step is Sampler.step

    @abstractmethod
    def kernel(self, prediction: Prediction, t: Level, s: Level, memory: Any = None) -> Gaussian:
        """Return the law of x_s given a prediction at level t; costs no network call.

        Args:
            prediction: the prediction at t.
            t: where the particles are.
            s: where they go.
            memory: what :meth:`remember` returned in the step before; None in the first one.
        """

    def remember(self, prediction: Prediction, t: Level) -> Any:
        """Return what the next step needs to know of the one from t: a tree, or None."""
        return None

    def step(self, state: State, t: Level, s: Level, cond: Any, rng: Rng) -> State:
        """Move every particle from level t to level s."""
        prediction = self.predict(state, t, cond)
        x = self.kernel(prediction, t, s, state.memory).sample(1, rng)
        return State(x, memory=self.remember(prediction, t))

    def initial(
        self,
        shape: Sequence[int],
        times: Sequence[float],
        rng: Rng,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Draw x_T ~ N(0, sigma_T^2 I) of shape (B, ...) at the first time of the grid."""
        return self.denoiser.schedule.level(times[0]).sigma * rng.normal(shape, dtype, device)

    def iterate(
        self,
        x: Tensor,
        times: Sequence[float],
        cond: Any = None,
        *,
        rng: Rng,
        grad: bool = False,
    ) -> Iterator[State]:
        """Walk from noise to data, yielding the :class:`State` after every step.

        The caller owns progress bars, previews, logging and early stop.

        Args:
            x: x_T (B, ...), left untouched.
            times: decreasing times in [0, 1], e.g. ``guided.schedule.uniform(50)``.
            cond: any tree of tensors with leading axis B.
            rng: the source of all randomness.
            grad: keep the autograd graph, to differentiate through the run.

        Raises:
            ValueError: for a bad time grid.
        """
        levels = self.denoiser.schedule.levels(times)
        state = State(x)
        for t, s in itertools.pairwise(levels):
            with torch.set_grad_enabled(grad):
                state = self.step(state, t, s, cond, rng)
            yield state

    def sample(
        self,
        x: Tensor,
        times: Sequence[float],
        cond: Any = None,
        *,
        rng: Rng,
        grad: bool = False,
    ) -> Tensor:
        """Return x_0 (B, ...); arguments as in :meth:`iterate`."""
        state = State(x)
        for state in self.iterate(x, times, cond, rng=rng, grad=grad):  # noqa: B007
            pass
        return state.x


class StepWrapper(Sampler):
    """A sampler made of another one; kernel, prediction and order are the inner one's.

    Args:
        sampler: the sampler, or step-level method, whose step this one changes.

    Attributes:
        needs_all_steps: whether no step of a run may be left to the inner sampler.

    Raises:
        TypeError: if the wrapped object is no :class:`Sampler`.
    """

    needs_all_steps: bool = False

    def __init__(self, sampler: Sampler) -> None:
        if not isinstance(sampler, Sampler):
            raise TypeError(
                f"{type(self).__name__} wraps a Sampler, got {type(sampler).__name__}; put the "
                f"denoiser into a sampler first, e.g. {type(self).__name__}(DDIM(denoiser, eta=1))"
            )
        super().__init__(sampler.denoiser)
        self.sampler = sampler
        self.order = sampler.order
        self.stochastic = sampler.stochastic

    def predict(self, state: State, t: Level, cond: Any = None) -> Prediction:
        """Return the inner sampler's prediction."""
        return self.sampler.predict(state, t, cond)

    def kernel(self, prediction: Prediction, t: Level, s: Level, memory: Any = None) -> Gaussian:
        """Return the inner sampler's kernel."""
        return self.sampler.kernel(prediction, t, s, memory)

    def remember(self, prediction: Prediction, t: Level) -> Any:
        """Return what the inner sampler remembers."""
        return self.sampler.remember(prediction, t)

    def bare_memory(self, memory: Any) -> Any:
        """Return the part of the memory after a step that is the inner sampler's."""
        return memory

    @property
    def steps_by_kernel(self) -> bool:
        """Return whether this one changes no step, nor do those inside."""
        return type(self).step is StepWrapper.step and self.sampler.steps_by_kernel

    def step(self, state: State, t: Level, s: Level, cond: Any, rng: Rng) -> State:
        """Take the inner sampler's step."""
        return self.sampler.step(state, t, s, cond, rng)
