r"""From the diffusion's coordinates to positions, as one matrix for each agent.

The latents, their whitening and the turn into the scene are all affine, so that

.. math:: p_a = o_a + M_a u_a.

M and o are computed once a scene; a product of matrices is all that is left for a step, and the
gradient of a cost in u is one more.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from domains.trajectory.frames import to_scene, turned
from domains.trajectory.latents import Latents


class Decoder(NamedTuple):
    """The affine maps of B scenes with A agents, k latents and F steps.

    Args:
        offset: o, (B, A, 2 F).
        matrix: transposed M, (B, A, k, 2 F).
    """

    offset: Tensor
    matrix: Tensor

    @classmethod
    def of(
        cls,
        latents: Latents,
        mean: Tensor,
        std: Tensor,
        here: Tensor,
        heading: Tensor,
        moves: Tensor,
    ) -> "Decoder":
        """Fold latents, whitening and frames together, in double precision until the end.

        Args:
            latents: of the futures.
            mean: of the diffusion's coordinates, (B, A, k).
            std: of the diffusion's coordinates, (B, A, k).
            here: positions now, (B, A, 2), metres.
            heading: (B, A), radians.
            moves: (B, A), False for agents who stay where they are, whatever u.
        """
        basis = (latents.basis * latents.std).double()
        moving = moves.to(basis)[..., None]
        own = (moving * (latents.mean.double() + mean.double() @ basis.mT)).unflatten(-1, (-1, 2))
        ways = (moving * std.double())[..., None] * basis.mT
        ways = ways.unflatten(-1, (-1, 2))  # (B, A, k, F, 2)
        angle = heading.double()
        offset = to_scene(own, here.double(), angle).flatten(-2)
        matrix = turned(ways, angle[:, :, None, None]).flatten(-2)
        return cls(offset.to(mean), matrix.to(mean))

    def __call__(self, u: Tensor) -> Tensor:
        """Return positions (B S, A, F, 2) of u (B S, A, k)."""
        scenes, agents, size = self.offset.shape
        rows = u.unflatten(0, (scenes, -1)).transpose(1, 2).flatten(0, 1)  # (B A, S, k)
        offset, matrix = self.offset.to(u), self.matrix.to(u)
        found = torch.baddbmm(offset.reshape(-1, 1, size), rows, matrix.flatten(0, 1))
        each = found.unflatten(0, (scenes, agents)).transpose(1, 2).flatten(0, 1)
        return each.unflatten(-1, (-1, 2))
