r"""The marginal predictor: for each agent M futures with probabilities, and how wide each is.

Futures are latents. Of the M, the one nearest to what happened learns (winner takes all), so that
they spread over the possibilities; a classifier learns which one wins, and a deviation for each
latent how far from it the truth lies. The moments of the mixture,

.. math:: \mu = \sum_m \pi_m x_m, \qquad
          s^2 = \sum_m \pi_m \left( \sigma_m^2 + (x_m - \mu)^2 \right),

are what the optimal Gaussian prior of the joint denoiser needs.

Differs: OptTrajDiff leaves out the probabilities, takes the spread between modes alone, and adds
    0.3 to it.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from domains.trajectory.batch import Targets
from domains.trajectory.latents import Latents
from domains.trajectory.network.attention import Feed
from domains.trajectory.network.encoder import Encoding
from guided.prior import GaussianPrior


class Modes(NamedTuple):
    """Marginal futures of every agent.

    Args:
        latents: (B, A, M, k).
        spread: (B, A, M, k), deviations about each mode.
        logits: (B, A, M).
    """

    latents: Tensor
    spread: Tensor
    logits: Tensor

    @property
    def probabilities(self) -> Tensor:
        """Return (B, A, M)."""
        return self.logits.softmax(-1)


class ModeHead(nn.Module):
    """Turns encodings of agents into :class:`Modes`.

    Args:
        width: of the encoding.
        modes: M.
        dim: k.
    """

    def __init__(self, width: int, modes: int, dim: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(0.5 * torch.randn(modes, width))
        self.feeds = nn.ModuleList(Feed(width) for _ in range(2))
        self.pool = nn.Linear(width, width)
        self.out = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * dim + 1))
        self.dim = dim

    def forward(self, encoding: Encoding) -> Modes:
        """Return the modes."""
        x = encoding.agents[:, :, None] + self.queries
        for feed in self.feeds:
            x = x + feed(x)
            x = x + self.pool(x).mean(2, keepdim=True)  # so that modes know of each other
        latents, spread, logits = self.out(x).split([self.dim, self.dim, 1], dim=-1)
        return Modes(latents, spread.clamp(-6, 3).exp(), logits[..., 0])


def mode_loss(modes: Modes, latents: Latents, local: Tensor, targets: Targets) -> Tensor:
    """Return the loss of every agent, (B, A); 0 where nothing of its future is valid.

    Args:
        modes: of the head.
        latents: their decoder.
        local: what happened in agents' own frames, (B, A, F, 2).
        targets: of the batch; its mask is used.
    """
    valid = targets.valid.to(local)
    steps = valid.sum(-1).clamp(min=1)
    gaps = (latents.decode(modes.latents) - local[:, :, None]).square().sum(-1)
    gaps = gaps.add(1e-6).sqrt() * valid[:, :, None]
    # The last step counts as much again as all others: half of all metrics ask for it alone.
    distance = gaps.sum(-1) / steps[:, :, None] + 0.5 * gaps[..., -1]
    best = distance.argmin(-1, keepdim=True)
    won = distance.gather(-1, best)[..., 0]
    chosen = modes.logits.log_softmax(-1).gather(-1, best)[..., 0]
    whole = targets.valid.all(-1).to(local)
    pick = best[..., None].expand(*best.shape, modes.latents.shape[-1])
    x, spread = (part.gather(2, pick)[:, :, 0] for part in (modes.latents, modes.spread))
    z = (latents.encode(local) - x.detach()) / spread
    wide = (0.5 * z.square() + spread.log()).mean(-1) * whole
    return won + 0.3 * wide - 0.3 * chosen * targets.valid.any(-1).to(local)


def moments(modes: Modes, floor: float) -> tuple[Tensor, Tensor]:
    """Return the mean and the deviation of the mixture, each (B, A, k)."""
    y, within, chance = (
        part.transpose(1, 2) for part in (modes.latents, modes.spread, modes.probabilities)
    )
    prior = GaussianPrior.of_modes(y, chance, floor, within)
    return prior.mean, prior.std
