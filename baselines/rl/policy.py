"""A trained network as a policy: observations in, actions of the environment out."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from baselines.rl.nets import GaussianActor
from domains.rl.acting import Observation
from domains.rl.data.flatten import flatten
from domains.rl.data.normalise import Normaliser
from domains.rl.data.offline import OfflineData
from guided.rng import Rng

Choose = Callable[[Tensor, Rng | None, float], Tensor]


@dataclass(frozen=True, eq=False)
class NetPolicy:
    """Acts by a function of normalised states.

    Args:
        choose: maps normalised states (N, S), a source of noise (None: without noise) and the
            setting to scaled actions (N, A), of which what is beyond [-1, 1] is cut off.
        data: what it was trained on; tells how observations are flattened.
        setting: the one number that may be chosen after training.
        rng: draws where ``act`` is given no randomness.
    """

    choose: Choose
    data: OfflineData
    setting: float
    normaliser: Normaliser
    rng: Rng = field(default_factory=lambda: Rng(0))

    def act(
        self, obs: Observation, *, deterministic: bool = False, rng: Rng | None = None
    ) -> np.ndarray:
        """Return actions (N, A), or (A,) for one observation; see ``domains.rl.acting.Policy``."""
        size = len(self.normaliser.mean)
        flat = flatten(obs, size, self.data.keys, self.data.shapes)
        states = self.normaliser.states(torch.from_numpy(flat.reshape(-1, size)))
        noise = None if deterministic else rng or self.rng
        with torch.no_grad():
            scaled = self.choose(states, noise, self.setting).clamp(-1, 1)
        actions = self.normaliser.actions_back(scaled).numpy()
        return actions[0] if flat.ndim == 1 else actions

    def tuned(self, setting: float) -> "NetPolicy":
        """Return the same with another setting."""
        return replace(self, setting=setting)


def gaussian(actor: GaussianActor) -> Choose:
    """Return how a normal law acts; the setting is the share of its deviation, 0 = its mean."""

    def choose(states: Tensor, rng: Rng | None, noise: float) -> Tensor:
        mean = actor(states)
        if rng is None or noise == 0:
            return mean
        return mean + noise * actor.std * rng.normal(mean.shape)

    return choose
