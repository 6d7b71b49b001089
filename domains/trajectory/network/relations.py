r"""What one thing is to another, seen from the first: the features of the relation transformer.

For a receiver at p with heading h and a sender at q with heading g, seen a time before,

.. math:: d = |q - p|, \quad \phi = \angle(q - p) - h, \quad \theta = g - h, \quad \tau.

Nothing else of the scene's coordinates enters the network, so that a scene that is turned and moved
gives the same forecast, turned and moved.

Source: Zhou et al. 2023, Query-centric trajectory prediction, section 3.2.
Differs: angles enter by sine and cosine, damped where the distance, and so the angle, vanishes.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from domains.trajectory.frames import turned

FEATURES = 7
NEAR = 1.0  # metres within which an angle fades


class Poses(NamedTuple):
    """Where things are and head.

    Args:
        positions: (..., 2) metres.
        headings: (...) radians.
    """

    positions: Tensor
    headings: Tensor


def relations(receivers: Poses, senders: Poses, gap: Tensor | float = 0.0) -> Tensor:
    """Return (..., FEATURES) for poses that broadcast against each other.

    Args:
        receivers: who looks.
        senders: who is seen.
        gap: seconds since the sender was there.
    """
    offset = turned(senders.positions - receivers.positions, -receivers.headings)
    distance = offset.square().sum(-1).add(1e-12).sqrt()
    turn = senders.headings - receivers.headings
    damped = offset / (NEAR + distance)[..., None]
    parts = [
        distance / 10,
        distance.log1p(),
        damped[..., 0],
        damped[..., 1],
        turn.cos(),
        turn.sin(),
    ]
    parts.append(torch.as_tensor(gap).to(distance).expand_as(distance))
    return torch.stack(parts, dim=-1)


class RelationEmbedding(nn.Module):
    r"""Maps relations (..., FEATURES) to (..., width): waves of learned frequency, then two layers.

    Args:
        width: numbers in the result.
        bands: waves.
    """

    def __init__(self, width: int, bands: int = 16) -> None:
        super().__init__()
        self.waves = nn.Linear(FEATURES, bands)
        self.layers = nn.Sequential(
            nn.Linear(FEATURES + 2 * bands, width), nn.SiLU(), nn.Linear(width, width)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return the embedding."""
        angle = 2 * math.pi * self.waves(features)
        return self.layers(torch.cat([features, angle.cos(), angle.sin()], dim=-1))
