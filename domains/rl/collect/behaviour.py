"""What acts while data are recorded: a behaviour starts one actor per episode."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


class Actor(Protocol):
    """One episode's controller."""

    def act(self, observation: Any) -> np.ndarray:
        """Return the action, (A,), inside the bounds of the action space."""
        ...


class Behaviour(Protocol):
    """A policy that may differ from episode to episode."""

    def start(self, env: Any, rng: np.random.Generator) -> Actor:
        """Return the actor of an episode that was just reset; all its randomness is ``rng``'s."""
        ...

    def describe(self) -> str:
        """Return the exact parameters, in words and numbers."""
        ...


@dataclass(frozen=True)
class Uniform:
    """Uniformly random actions, the floor of every normalised score."""

    def start(self, env: Any, rng: np.random.Generator) -> Actor:
        """Return an actor that draws inside the bounds of the environment's actions."""
        return _UniformActor(env.action_space, rng)

    def describe(self) -> str:
        """Return the distribution's name."""
        return "uniformly random actions"


class _UniformActor:
    def __init__(self, space: Any, rng: np.random.Generator) -> None:
        self._low, self._high, self._dtype = space.low, space.high, space.dtype
        self._rng = rng

    def act(self, observation: Any) -> np.ndarray:
        return self._rng.uniform(self._low, self._high).astype(self._dtype)
