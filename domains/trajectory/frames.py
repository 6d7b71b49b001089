"""Agents' own frames: the origin is where the agent is now, the x axis where it heads."""

import torch
from torch import Tensor


def turned(points: Tensor, angle: Tensor) -> Tensor:
    """Rotate points (..., 2) counter-clockwise by angles that broadcast against points[..., 0]."""
    cos, sin = angle.cos(), angle.sin()
    x, y = points.unbind(-1)
    return torch.stack([cos * x - sin * y, sin * x + cos * y], dim=-1)


def to_local(points: Tensor, origin: Tensor, heading: Tensor) -> Tensor:
    """Return points (..., A, T, 2) in the frames of agents at (..., A, 2) heading (..., A)."""
    return turned(points - origin[..., None, :], -heading[..., None])


def to_scene(points: Tensor, origin: Tensor, heading: Tensor) -> Tensor:
    """Return points (..., A, T, 2) of agents' own frames in the scene's: the way back."""
    return turned(points, heading[..., None]) + origin[..., None, :]
