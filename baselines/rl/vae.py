r"""A conditional variational autoencoder of actions: what the data do in a state.

=========  ======================================================================================
encoder    :math:`q(z | s, a) = N(\mu(s, a), \mathrm{diag}\, \sigma^2(s, a))`
decoder    :math:`a = d(s, z)`, in (-1, 1)
loss       :math:`\mathrm{mean}_j (d(s, z) - a)_j^2 + \beta\, \mathrm{KL}`
=========  ======================================================================================

The divergence KL from N(0, I), averaged over the numbers of z, is large for actions unlike those of
the data.

Source: Fujimoto, Meger & Precup, 2019, Off-Policy Deep Reinforcement Learning without Exploration,
section 4.1 and appendix, https://arxiv.org/abs/1812.02900.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from baselines.rl.nets import TanhActor, perceptron
from guided.rng import Rng

LEAST_LOG_STD, MOST_LOG_STD = -4.0, 15.0
BOUND = 0.5  # of |z| where actions are drawn: far out, the decoder has seen little


class ActionVAE(nn.Module):
    """Encoder and decoder, with twice as many numbers in z as in an action.

    Args:
        states: numbers in a state.
        actions: numbers in an action.
        hidden: widths of the hidden layers of both.
        beta: weight of the divergence.
    """

    def __init__(self, states: int, actions: int, hidden: Sequence[int], beta: float) -> None:
        super().__init__()
        self.latent, self.beta = 2 * actions, beta
        self.encoder = perceptron(states + actions, hidden, 2 * self.latent)
        self.decoder = TanhActor(states + self.latent, actions, hidden)

    def loss(self, states: Tensor, actions: Tensor, rng: Rng) -> Tensor:
        """Return the loss of every action, (B,)."""
        mean, log_std = self.encode(states, actions)
        z = mean + log_std.exp() * rng.normal(mean.shape)
        error = (self.decode(states, z) - actions).square().mean(1)
        return error + self.beta * divergence(mean, log_std)

    def encode(self, states: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log deviation of z, each (B, Z)."""
        mean, log_std = self.encoder(torch.cat([states, actions], 1)).chunk(2, 1)
        return mean, log_std.clamp(LEAST_LOG_STD, MOST_LOG_STD)

    def decode(self, states: Tensor, z: Tensor) -> Tensor:
        """Return actions (B, A) for z (B, Z)."""
        return self.decoder(torch.cat([states, z], 1))

    @torch.no_grad()
    def draw(self, states: Tensor, rng: Rng) -> Tensor:
        """Draw an action for each state, (B, A)."""
        return self.decode(states, rng.normal((len(states), self.latent)).clamp(-BOUND, BOUND))

    @torch.no_grad()
    def strangeness(self, states: Tensor, actions: Tensor) -> Tensor:
        """Return the divergence of every action, (B,)."""
        return divergence(*self.encode(states, actions))


def divergence(mean: Tensor, log_std: Tensor) -> Tensor:
    """Return the mean over Z of the divergence of N(mean, std^2) from N(0, 1), (B,)."""
    return 0.5 * (mean.square() + (2 * log_std).exp() - 1 - 2 * log_std).mean(1)
