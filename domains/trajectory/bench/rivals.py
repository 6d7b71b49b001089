"""Denoisers that compute again in every step what depends on the scene alone.

All give the same results as :class:`~domains.trajectory.prepared.BoundDenoiser`.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from domains.trajectory.network.encoder import Encoding
from domains.trajectory.network.joint import Context
from domains.trajectory.network.modes import Modes
from domains.trajectory.network.relations import Poses, relations
from domains.trajectory.prepared import BoundDenoiser, Prepared
from guided.denoiser import NetDenoiser
from guided.schedule import Level

Fresh = Callable[[Prepared, int], Context]


class Recomputing(BoundDenoiser):
    """Makes its context anew in every call.

    Args:
        prepared: scenes.
        fresh: makes the context of them, given the number of samples.
    """

    def __init__(self, prepared: Prepared, fresh: Fresh) -> None:
        super().__init__(prepared.predictor.joint, prepared.denoiser.context)
        self.prepared, self.fresh = prepared, fresh

    def output(self, x: Tensor, level: Level, cond: Any = None, control: Any = None) -> Tensor:
        """Call the network on x (B S, A, k)."""
        context = self.fresh(self.prepared, len(x) // len(self.prepared.scenes))
        return NetDenoiser.output(self, x, level, context, control)


def everything(prepared: Prepared, samples: int) -> Context:
    """Encode the scene again, with its map and history, and all that follows; for all samples."""
    predictor = prepared.predictor
    encoding, modes = predictor.marginal(prepared.inputs)
    net: Any = predictor.joint.net
    return net.context(encoding, modes, *predictor.coordinates(modes))


def relations_alone(prepared: Prepared, samples: int) -> Context:
    """Embed again how agents lie to each other, and make keys and values; for all samples."""
    return _related(prepared, 1)


def relations_of_samples(prepared: Prepared, samples: int) -> Context:
    """Do so for every sample by itself, as the original does.

    Source: the code of Wang et al. 2024, OptTrajDiff, which repeats the edges of its graph for
        every sample, and embeds them again in every step.
    """
    return _related(prepared, samples)


def _related(prepared: Prepared, copies: int) -> Context:
    def many(part: Tensor) -> Tensor:
        return part.repeat_interleave(copies, dim=0)

    net: Any = prepared.predictor.joint.net
    inputs, encoding = prepared.inputs, prepared.encoding
    here, heading = many(inputs.positions[:, :, -1]), many(inputs.headings[:, :, -1])
    ends = Poses(here[:, :, None], heading[:, :, None]), Poses(here[:, None], heading[:, None])
    embedded: Tensor = prepared.predictor.encoder.embed["agents"](relations(*ends))
    fresh = Encoding(many(encoding.agents), embedded, many(encoding.sees))
    modes = Modes(*(many(part) for part in prepared.modes))
    return net.context(fresh, modes, many(prepared.mean), many(prepared.std))


def difference(ours: Tensor, theirs: Tensor) -> str:
    """Return how far two results are apart, in words.

    Raises:
        ValueError: where they are not the same to rounding.
    """
    off = float((ours - theirs).abs().max())
    if not torch.allclose(ours, theirs, rtol=1e-3, atol=1e-3):
        raise ValueError(
            f"a rival's futures differ by {off:.3g} m, so that it does other work; its time says "
            f"nothing"
        )
    return f"differs by {off:.0e} m"
