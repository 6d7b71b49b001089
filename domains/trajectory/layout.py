"""Rows of any order and number as the network takes them: the samples of each scene side by side.

Guidance stacks the rows of several branches, takes some of them, or evaluates them in chunks.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Layout(NamedTuple):
    """How R rows become B S, scene by scene, and come back.

    Args:
        take: for every place (B S,) the row that goes there; places beyond those of a scene, which
            has fewer rows than S, are filled with row 0, and nobody reads what comes of it.
        back: for every row (R,) its place.
    """

    take: Tensor
    back: Tensor

    @classmethod
    def of(cls, scene: Tensor, scenes: int) -> "Layout | None":
        """Return the layout of rows whose scenes are known; None = they lie as they should.

        Args:
            scene: number of each row's scene (R,), from 0.
            scenes: B.
        """
        every, rows = torch.arange(scenes, device=scene.device), len(scene)
        if rows % scenes == 0 and scene.equal(every.repeat_interleave(rows // scenes)):
            return None
        order = scene.argsort(stable=True)
        counts = scene.bincount(minlength=scenes)
        size, first = int(counts.max()), counts.cumsum(0) - counts
        own = scene[order]
        places = own * size + torch.arange(rows, device=scene.device) - first[own]
        take = torch.zeros(scenes * size, dtype=torch.long, device=scene.device)
        take.index_copy_(0, places, order)
        return cls(take, torch.empty_like(order).index_copy_(0, order, places))
