"""Environments side by side that play given episodes and then stand still.

Gymnasium steps all environments of a vector at once. One that has finished its share must not be
stepped on, which costs time and, without a reset, is an error: ``Seeded`` ignores such steps.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

MakeEnv = Callable[[], gymnasium.Env]
SUCCESS = ("success", "is_success")  # what environments call it in their infos


class Seeded(gymnasium.Wrapper):
    """Plays the episodes that it is given a seed for; a reset without one puts it to rest.

    At rest it ignores actions, earns nothing and never ends. Of the infos only the success is left,
    under the name of "success", and as floats the "cost" of a step and the "margin" of a state.
    """

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        self._resting = False
        self._last: Any = None

    @property
    def steps_at_most(self) -> int | None:
        """The steps after which the environment cuts an episode, if it has a time limit."""
        env = self.env
        while isinstance(env, gymnasium.Wrapper):
            if isinstance(env, gymnasium.wrappers.TimeLimit):
                return int(env._max_episode_steps)
            env = env.env
        return None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start the episode of a seed, or rest; options are none of an episode's business."""
        self._resting = seed is None
        if not self._resting or self._last is None:
            self._last, info = self.env.reset(seed=seed)
            if not self._resting:
                return self._last, _floats(info, ("margin",))
        return self._last, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step, unless at rest."""
        if self._resting:
            return self._last, 0.0, False, False, {}
        self._last, reward, terminated, truncated, info = self.env.step(action)
        told = [bool(info[key]) for key in SUCCESS if key in info]
        left: dict[str, Any] = {"success": any(told)} if told else {}
        if "cost" in info or "margin" in info:
            left |= _floats(info, ("cost", "margin"))
        return self._last, float(reward), bool(terminated), bool(truncated), left


def _floats(info: dict[str, Any], names: Sequence[str]) -> dict[str, float]:
    """Return some entries of an info as floats; those that are not there, or None, are left out."""
    found: dict[str, float] = {}
    for name in names:
        value = info.get(name)
        if value is None:
            continue
        try:
            found[name] = float(np.asarray(value).item())
        except (TypeError, ValueError):
            said = " ".join(repr(value).split())[:60]
            raise ValueError(
                f"the environment's info has the {name} {said}, which is not one number; join"
                f" several by a wrapper"
            ) from None
    return found


class SideBySide:
    """Environments of one kind that can be evaluated in again and again, without making new ones.

    Use it with ``with``, or close it.

    Args:
        make_env: returns a new environment.
        count: how many.
        processes: give every environment its own process, for those that are slow to step.

    Raises:
        TypeError: if actions are no arrays of real numbers.
        ValueError: for a count below 1.
    """

    def __init__(self, make_env: MakeEnv, count: int, processes: bool = False) -> None:
        if count < 1:
            raise ValueError(f"SideBySide got count = {count}; give at least 1")
        kind = AsyncVectorEnv if processes else SyncVectorEnv
        makers = [lambda: Seeded(make_env())] * count
        self.count = count
        self.vector: Any = kind(makers, autoreset_mode=AutoresetMode.DISABLED)
        if not isinstance(self.vector.single_action_space, gymnasium.spaces.Box):
            self.close()
            raise TypeError(
                f"the environment takes actions of {self.vector.single_action_space}; policies here"
                f" return real numbers, so give one whose action space is a Box"
            )

    @property
    def steps_at_most(self) -> int | None:
        """The time limit of the environments, if they have one."""
        limit: int | None = self.vector.get_attr("steps_at_most")[0]
        return limit

    def close(self) -> None:
        """Close the environments, and end their processes."""
        self.vector.close()

    def __enter__(self) -> "SideBySide":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def opened(
    environment: "MakeEnv | SideBySide", count: int, processes: bool
) -> Iterator[SideBySide]:
    """Give environments that are there already, or make some for this once."""
    if isinstance(environment, SideBySide):
        yield environment
    else:
        with SideBySide(environment, count, processes) as made:
            yield made
