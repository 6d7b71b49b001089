"""Many scenes as one set of padded tensors, and random batches of it for training."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from domains.trajectory.batch import Inputs, Targets, Window, case, collate, collate_targets, target
from domains.trajectory.frames import to_local
from domains.trajectory.scene import Scene
from guided.cond import take


@dataclass(frozen=True)
class Augmentation:
    """How training scenes are varied."""

    scale: tuple[float, float] = (1.0, 1.0)
    """Least and largest factor of all lengths, drawn evenly in their logarithm."""
    mirror: bool = False
    """Whether half of the scenes are seen in a mirror."""
    agents: int = 10
    """Agents of a scene that are seen: a random one with a known future, and the nearest ones."""

    def __post_init__(self) -> None:
        low, high = self.scale
        if not 0 < low <= high < math.inf or self.agents < 1:
            raise ValueError(
                f"scenes are varied by a positive scale from least to largest, with 1 or more "
                f"agents, got {low} to {high} and {self.agents}"
            )


class Dataset:
    """Scenes ready for training.

    Args:
        scenes: with futures.
        window: what the network sees and says.

    Raises:
        ValueError: for no scene, or none with a future.
    """

    def __init__(self, scenes: Sequence[Scene], window: Window) -> None:
        if not scenes:
            raise ValueError("a data set needs at least one scene, got none")
        cases = [case(scene, window) for scene in scenes]
        futures = [
            target(*pair) for pair in zip(scenes, [window] * len(scenes), cases, strict=True)
        ]
        self.kinds = sorted({kind for scene in scenes for kind in scene.kinds})
        self.inputs, self.targets = collate(cases), collate_targets(futures)
        if not bool(self.targets.valid.all(-1).any()):
            raise ValueError(
                f"none of {len(scenes)} scenes has an agent with a whole future of "
                f"{window.future} steps of {window.dt:g} s; give longer recordings"
            )

    def __len__(self) -> int:
        return len(self.inputs.positions)

    def futures(self) -> Tensor:
        """Return all whole futures in agents' own frames, (n, F, 2)."""
        now = self.inputs.positions[:, :, -1], self.inputs.headings[:, :, -1]
        return to_local(self.targets.futures, *now)[self.targets.valid.all(-1)]

    def batch(
        self, size: int, generator: torch.Generator, how: Augmentation
    ) -> tuple[Targets, Inputs]:
        """Return random scenes, varied."""
        index = torch.randint(len(self), (size,), generator=generator)
        inputs, targets = nearest(
            take(self.inputs, index), take(self.targets, index), how.agents, generator
        )
        scale, mirror = _drawn(size, generator, how)
        return _varied(inputs, targets, scale, mirror)


def nearest(
    inputs: Inputs, targets: Targets, count: int, generator: torch.Generator
) -> tuple[Inputs, Targets]:
    """Keep the agents nearest to one of those with a whole future, drawn for each scene."""
    known = targets.valid.all(-1)
    noise = torch.rand(known.shape, generator=generator)
    anchor = torch.where(known, noise, noise - 2 + inputs.agents.float()).argmax(1)
    here = inputs.positions[:, :, -1]
    gaps = (here - here[torch.arange(len(here)), anchor][:, None]).norm(dim=-1)
    gaps = gaps.where(inputs.agents, torch.inf)
    most = min(count, int(inputs.agents.sum(1).max()))
    order = gaps.argsort(1)[:, :most]

    def kept(part: Tensor) -> Tensor:
        index = order.reshape(*order.shape, *[1] * (part.ndim - 2))
        return part.gather(1, index.expand(*order.shape, *part.shape[2:]))

    names = ("positions", "headings", "valid", "kinds", "agents")
    chosen = inputs._replace(**{name: kept(getattr(inputs, name)) for name in names})
    return chosen, Targets(*(kept(part) for part in targets))


def _drawn(size: int, generator: torch.Generator, how: Augmentation) -> tuple[Tensor, Tensor]:
    low, high = (torch.tensor(x).log() for x in how.scale)
    scale = (low + (high - low) * torch.rand(size, generator=generator)).exp()
    mirror = torch.rand(size, generator=generator) < (0.5 if how.mirror else 0.0)
    return scale, torch.where(mirror, -1.0, 1.0)


def _varied(
    inputs: Inputs, targets: Targets, scale: Tensor, mirror: Tensor
) -> tuple[Targets, Inputs]:
    factor = torch.stack([scale, scale * mirror], dim=-1)[:, None, None]  # (B, 1, 1, 2)
    inputs = inputs._replace(
        positions=inputs.positions * factor,
        headings=inputs.headings * mirror[:, None, None],
        map_points=inputs.map_points * factor,
    )
    return targets._replace(futures=targets.futures * factor), inputs
