"""Regions of tokens that attend alike, from the attention maps of the network itself."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from guided.guidance.tokens import laid
from guided.nets.control import Control, Maps


class AttentionRegions:
    r"""R regions of the tokens, found anew in every call from self-attention.

    Of the maps S, averaged over heads and layers, R tokens that attend least alike are anchors, and
    the attention of all tokens to them takes the place of the attention to words C. Then
    :math:`\bar C = \tfrac1P \sum_{p=1}^P S^p C`, and each token belongs to its largest entry.

    Args:
        layers: indices of the blocks whose maps are read.
        count: R.
        powers: P.

    Attributes:
        control: reads the maps of a call.

    Raises:
        ValueError: for no layer, or counts below 1.

    Source: Shen et al. 2024, Rethinking the spatial inconsistency in classifier-free diffusion
        guidance (arXiv 2404.05384).
    Differs: the anchors, for networks without words.
    """

    def __init__(self, layers: Sequence[int], count: int, powers: int = 4) -> None:
        if not layers or count < 1 or powers < 1:
            raise ValueError(
                f"AttentionRegions needs at least one layer, region and power, got {len(layers)}, "
                f"{count} and {powers}"
            )
        self._maps = Maps(frozenset(layers))
        self.control = Control(maps=self._maps)
        self.count, self.powers = count, powers

    def masks(self, x: Tensor) -> Tensor:
        """Return the regions (B, R, ...) of the last call, which broadcast against x (B, ...).

        Raises:
            ValueError: for maps of other samples, or tokens that do not lie in x.
        """
        found = list(self._maps.found.values())
        rows = len(found[0]) if found else 0
        if rows != len(x):
            raise ValueError(
                f"the attention maps are of {rows} rows, and the batch of {len(x)}; evaluate it by "
                f"a network that passes controls on"
            )
        own = torch.stack([layer.mean(1) for layer in found]).mean(0)
        places = anchors(own, self.count)
        to_anchors = own.gather(2, places[:, None].expand(-1, own.shape[1], -1))
        chosen = propagated(own, to_anchors, self.powers).argmax(2)
        flags = functional.one_hot(chosen, self.count).to(x).unbind(2)
        return torch.stack([laid(own, self._maps.grid, x) for own in flags], 1)


def propagated(own: Tensor, cross: Tensor, powers: int = 4) -> Tensor:
    r"""Return :math:`\bar C = \tfrac1P \sum_{p=1}^P S^p C`, (B, T, R).

    Args:
        own: S, the attention of tokens to tokens (B, T, T).
        cross: C, the attention of tokens to R words (B, T, R), here normalised over the tokens.
        powers: P.

    Source: Shen et al. 2024 (arXiv 2404.05384).
    Differs: the powers are true ones; the authors' code adds S C and multiples of S^2 C.
    """
    power = cross / cross.sum(1, keepdim=True).clamp(min=torch.finfo(cross.dtype).tiny)
    total = torch.zeros_like(power)
    for _ in range(powers):
        power = own @ power
        total = total + power
    return total / powers


def anchors(own: Tensor, count: int) -> Tensor:
    """Return the tokens (B, R) that attend least alike: the most attended, then the farthest.

    Args:
        own: attention (B, T, T).
        count: R.

    Raises:
        ValueError: for more regions than tokens.
    """
    if count > own.shape[1]:
        raise ValueError(f"{own.shape[1]} tokens make no {count} regions; ask for fewer")
    rows = functional.normalize(own, dim=2)
    place = own.sum(1).argmax(1)
    found, nearest = [place], torch.full_like(rows[:, :, 0], -math.inf)
    for _ in range(count - 1):
        there = rows.gather(1, place[:, None, None].expand(-1, 1, rows.shape[2]))
        nearest = torch.maximum(nearest, (rows @ there.mT)[:, :, 0])
        place = nearest.argmin(1)
        found.append(place)
    return torch.stack(found, 1)
