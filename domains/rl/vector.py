"""Environments side by side that play given episodes and then stand still.

Gymnasium steps all environments of a vector at once. One that has finished its share must not be
stepped on, which costs time and, without a reset, is an error: ``Seeded`` ignores such steps.
"""

from collections.abc import Callable
from typing import Any

import gymnasium
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

MakeEnv = Callable[[], gymnasium.Env]
SUCCESS = ("success", "is_success")  # what environments call it in their infos


class Seeded(gymnasium.Wrapper):
    """Plays the episodes that it is given a seed for; a reset without one puts it to rest.

    At rest it ignores actions, earns nothing and never ends. Of the infos only the success is left,
    under the name of "success".
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
        if not self._resting:
            self._last, _ = self.env.reset(seed=seed)
        return self._last, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step, unless at rest."""
        if self._resting:
            return self._last, 0.0, False, False, {}
        self._last, reward, terminated, truncated, info = self.env.step(action)
        told = [bool(info[key]) for key in SUCCESS if key in info]
        success = {"success": any(told)} if told else {}
        return self._last, float(reward), bool(terminated), bool(truncated), success


def open_vector(make_env: MakeEnv, count: int, processes: bool, max_steps: int | None) -> Any:
    """Return a vector of ``count`` environments, each in its own process or all in this one.

    Raises:
        TypeError: if actions are no arrays of real numbers.
        ValueError: if neither ``max_steps`` nor the environment limits an episode.
    """
    makers = [lambda: Seeded(make_env())] * count
    kind = AsyncVectorEnv if processes else SyncVectorEnv
    vector = kind(makers, autoreset_mode=AutoresetMode.DISABLED)
    try:
        if not isinstance(vector.single_action_space, gymnasium.spaces.Box):
            raise TypeError(
                f"{_name(vector)} takes actions of {vector.single_action_space}; policies here"
                f" return real numbers, so give an environment whose action space is a Box"
            )
        if max_steps is None and vector.get_attr("steps_at_most")[0] is None:
            raise ValueError(
                f"{_name(vector)} has no time limit, so that an episode might never end; give"
                f" max_steps"
            )
    except BaseException:
        vector.close()
        raise
    return vector


def _name(vector: Any) -> str:
    spec = vector.get_attr("spec")[0]
    return "the environment" if spec is None else str(spec.id)
