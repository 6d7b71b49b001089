"""A soft actor-critic policy as a behaviour: trained with stable-baselines3, then recorded."""

import contextlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from domains.rl.collect.behaviour import Actor


@dataclass(frozen=True)
class SacTraining:
    """How the policy is trained; what is not named is stable-baselines3's default.

    Args:
        steps: environment steps, one update each after the first hundredth (at least 100).
        width: of the two hidden layers.
        learning_rate: of Adam.
    """

    steps: int
    width: int = 256
    learning_rate: float = 3e-4

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"SAC needs at least one step of training, got {self.steps}")

    def describe(self) -> str:
        """Return the settings."""
        return (
            f"stable-baselines3's SAC after {self.steps} steps (width {self.width}, learning rate "
            f"{self.learning_rate:g}), actions sampled"
        )


@dataclass(frozen=True)
class Learned:
    """The place of a trained policy in a mixture.

    Args:
        model: stable-baselines3's, or None as long as it is not trained.
        about: its description.
    """

    model: Any = None
    about: str = ""

    def start(self, env: Any, rng: np.random.Generator) -> Actor:
        """Return an actor that samples the policy with ``rng``."""
        if self.model is None:
            raise ValueError("the policy of this preset is not trained; call train_sac first")
        return _SacActor(self.model, rng)

    def describe(self) -> str:
        """Return how it was trained."""
        return self.about


class _SacActor:
    def __init__(self, model: Any, rng: np.random.Generator) -> None:
        self._policy, self._rng = model.policy, rng
        self._dtype = model.action_space.dtype

    @torch.no_grad()
    def act(self, observation: np.ndarray) -> np.ndarray:
        # As the policy's own sampling, but with this episode's random numbers.
        states, _ = self._policy.obs_to_tensor(observation)
        mean, log_std, _ = self._policy.actor.get_action_dist_params(states)
        noise = self._rng.standard_normal(mean.shape[1])
        action = torch.tanh(mean[0] + log_std[0].exp() * torch.as_tensor(noise, dtype=mean.dtype))
        return self._policy.unscale_action(action.numpy()).astype(self._dtype)


def train_sac(
    env: Any,
    training: SacTraining,
    seed: int,
    advance: Callable[[int], None] = lambda step: None,
) -> Learned:
    """Train a policy on the CPU; global random streams are left as they were.

    Args:
        env: the task.
        training: its settings.
        seed: of the networks, the exploration and the environment.
        advance: called with the number of each step that was taken.

    Raises:
        ValueError: without stable-baselines3.
    """
    try:
        from stable_baselines3 import SAC
        from stable_baselines3.common.callbacks import BaseCallback
    except ImportError:
        raise ValueError(
            "this preset trains its policy with stable-baselines3; pip install stable-baselines3"
        ) from None

    class Progress(BaseCallback):
        def _on_step(self) -> bool:
            advance(self.num_timesteps)
            return True

    with _global_streams_kept():
        model = SAC(
            "MlpPolicy",
            env,
            learning_rate=training.learning_rate,
            learning_starts=max(100, training.steps // 100),
            policy_kwargs={"net_arch": [training.width, training.width]},
            # SAC seeds NumPy's old generator, which takes 32 bits.
            seed=seed % 2**32,
            device="cpu",
        )
        model.learn(training.steps, callback=Progress())
    return Learned(model, f"{training.describe()}, seed {seed}")


@contextlib.contextmanager
def _global_streams_kept() -> Iterator[None]:
    """Restore the global streams, which stable-baselines3 seeds and draws from."""
    old, numbers = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(old)
        np.random.set_state(numbers)  # noqa: NPY002
