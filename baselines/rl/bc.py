r"""Behaviour cloning: a perceptron that imitates all of the data, good and bad.

.. math:: \max_\theta\; E_{(s, a) \sim D}\, \log N(a; \tanh f_\theta(s), \mathrm{diag}\, \sigma^2)

No value is learned. Where the data do two things in one state the mean does neither, which is what
diffusion policies are for.

Source: Pomerleau, 1991, Efficient Training of Artificial Neural Networks for Autonomous Navigation.
Differs: one deviation sigma for all states, so that IQL with beta = 0 is this very algorithm.
"""

from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from baselines.rl.nets import GaussianActor, check_hidden
from baselines.rl.policy import NetPolicy, gaussian
from baselines.rl.transitions import Bootstrap, Transitions, fit, short
from domains.rl.data.offline import OfflineData
from domains.rl.train import Progress
from guided.rng import initial_weights, stream_seed
from guided.train import TrainConfig


@dataclass(frozen=True)
class BCConfig:
    """How to train."""

    hidden: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers."""
    loop: TrainConfig = field(default_factory=lambda: short(10_000))
    """The optimisation."""
    seed: int = 0
    """Of the initial weights."""

    def __post_init__(self) -> None:
        check_hidden(self.hidden)


class BC(GaussianActor):
    """A normal law fitted by maximum likelihood."""

    def loss(self, actions: Tensor, batch: Any, _: Any = None) -> Tensor:
        """Return -log p(a | s) of every transition, (B,)."""
        return -self.log_prob(batch["state"], actions)


def train(
    data: OfflineData, config: BCConfig, folder: Path | None = None
) -> Generator[Progress, None, NetPolicy]:
    """Train, and return a policy whose setting is the share of the noise it acts with."""
    transitions = Transitions(data, Bootstrap())
    with initial_weights(stream_seed(config.seed)):
        actor = BC(*transitions.sizes, config.hidden)
    yield from fit("bc", actor, transitions, config.loop, folder)
    return NetPolicy(gaussian(actor), data, 0.0, transitions.normaliser)
