"""Scenes as padded tensors: what the network sees, and apart from it, what it should say.

Inputs are made of a scene's history alone. Positions are metres from an origin of the scene (the
mean of where its agents are now), so that single precision suffices wherever on earth it lies.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from domains.trajectory.polylines import MAP_KINDS, pieces
from domains.trajectory.scene import KINDS, Scene, whole_steps


class Inputs(NamedTuple):
    """B scenes, padded to A agents, H steps of history and P pieces of map with L points.

    Args:
        positions: (B, A, H, 2); the last step is now.
        headings: (B, A, H).
        valid: (B, A, H).
        kinds: (B, A), indices into :data:`KINDS`.
        agents: (B, A), False for padding.
        dt: (B,), seconds between steps.
        map_points: (B, P, L, 2).
        map_kinds: (B, P), indices into :data:`MAP_KINDS`.
        pieces: (B, P), False for padding.
    """

    positions: Tensor
    headings: Tensor
    valid: Tensor
    kinds: Tensor
    agents: Tensor
    dt: Tensor
    map_points: Tensor
    map_kinds: Tensor
    pieces: Tensor


class Targets(NamedTuple):
    """What happened after now.

    Args:
        futures: (B, A, F, 2), in the coordinates of the inputs; 0 where not valid.
        valid: (B, A, F).
    """

    futures: Tensor
    valid: Tensor


@dataclass(frozen=True)
class Window:
    """How much of a scene the network sees and says.

    Args:
        history: H, steps of history, now included; a scene with fewer is padded in front.
        future: F, steps to predict.
        dt: seconds between steps.
        reach: metres around the middle of the agents within which the map is seen.
        points: L, points of a piece of map.
        pieces: at most so many pieces of map, the nearest; 0 ignores maps.

    Raises:
        ValueError: for sizes with which nothing can be seen or said.
    """

    history: int = 10
    future: int = 12
    dt: float = 0.5
    reach: float = 60.0
    points: int = 6
    pieces: int = 48

    def __post_init__(self) -> None:
        if self.history < 2 or self.future < 1 or not self.dt > 0:
            raise ValueError(
                f"a window needs 2 or more steps of history, 1 or more of future and a positive "
                f"dt, got {self.history}, {self.future} and {self.dt}"
            )
        if self.points < 2 or self.pieces < 0 or not self.reach > 0:
            raise ValueError(
                f"a window needs 2 or more points in a piece of map, 0 or more pieces and a "
                f"positive reach, got {self.points}, {self.pieces} and {self.reach}"
            )


class Case(NamedTuple):
    """One scene as arrays, before it is padded; agents are those who are seen now.

    Args:
        inputs: as :class:`Inputs`, without the leading axis.
        origin: (2,), to be added to go back to the scene's coordinates.
        agents: (A,), indices into the scene's agents.
    """

    inputs: tuple[NDArray, ...]
    origin: NDArray[np.float64]
    agents: NDArray[np.int64]


def strided(scene: Scene, window: Window) -> int:
    """Return how many steps of the scene make one of the window.

    Raises:
        ValueError: where dt of the window is no multiple of the scene's.
    """
    stride = whole_steps(scene, window.dt)
    if not stride:
        raise ValueError(
            f"{scene.name} steps {scene.dt:g} s and the model {window.dt:g} s, which is no "
            f"multiple of it; resample the scene (resampling.stepped)"
        )
    return stride


def fits(scene: Scene, window: Window) -> bool:
    """Return whether the window's steps are steps of the scene, to 2 %."""
    return whole_steps(scene, window.dt) > 0


def case(scene: Scene, window: Window) -> Case:
    """Return what the network may know of a scene; its future is not looked at.

    Raises:
        ValueError: for a scene in which nobody is seen now.
    """
    stride = strided(scene, window)
    agents = np.flatnonzero(scene.present)
    if not len(agents):
        raise ValueError(
            f"{scene.name}: nobody is seen at step {scene.now} of its {scene.agents} agents, so "
            f"there is nobody to forecast"
        )
    steps = scene.now - stride * np.arange(window.history)[::-1]
    at, inside = np.maximum(steps, 0), steps >= 0
    valid = scene.valid[agents][:, at] & inside
    origin = scene.positions[agents, scene.now].mean(0)
    positions = np.where(valid[..., None], scene.positions[agents][:, at] - origin, 0.0)
    headings = np.where(valid, scene.headings[agents][:, at], 0.0)
    kinds = np.array([KINDS.index(scene.kinds[a]) for a in agents])
    points, map_kinds = pieces(scene.road, origin, window.reach, window.points, window.pieces)
    inputs = (positions, headings, valid, kinds, np.ones(len(agents), bool), np.array(window.dt))
    found = (*inputs, points, map_kinds, np.ones(len(points), bool))
    return Case(found, origin, agents)


def target(scene: Scene, window: Window, of: Case) -> tuple[NDArray, NDArray]:
    """Return the futures (A, F, 2) of a case's agents about its origin, and their valid steps."""
    stride = strided(scene, window)
    steps = scene.now + stride * (1 + np.arange(window.future))
    last = scene.valid.shape[1] - 1
    at, inside = np.minimum(steps, last), steps <= last
    valid = scene.valid[of.agents][:, at] & inside
    futures = scene.positions[of.agents][:, at] - of.origin
    return np.where(valid[..., None], futures, 0.0), valid


def collate(cases: Sequence[Case]) -> Inputs:
    """Pad cases to one batch, in single precision."""
    return Inputs(*(padded(parts) for parts in zip(*(c.inputs for c in cases), strict=True)))


def collate_targets(targets: Sequence[tuple[NDArray, NDArray]]) -> Targets:
    """Pad futures to one batch."""
    return Targets(*(padded(parts) for parts in zip(*targets, strict=True)))


def padded(arrays: Sequence[NDArray]) -> Tensor:
    """Stack arrays whose first axis differs, padded with zeros at its end."""
    if arrays[0].ndim == 0:
        return torch.as_tensor(np.stack(arrays), dtype=torch.float32)
    shape = (len(arrays), max(len(a) for a in arrays), *arrays[0].shape[1:])
    kind = {"b": np.bool_, "i": np.int64}.get(arrays[0].dtype.kind, np.float32)
    found = np.zeros(shape, kind)
    for row, array in zip(found, arrays, strict=True):
        row[: len(array)] = array
    return torch.from_numpy(found)


__all__ = [
    "KINDS",
    "MAP_KINDS",
    "Case",
    "Inputs",
    "Targets",
    "Window",
    "case",
    "collate",
    "collate_targets",
    "target",
]
