r"""How futures move: speeds, accelerations and jerks by differences, from where agents are now.

With :math:`p_{-1}` the position now, step f has the velocity :math:`v_f = (p_f - p_{f-1}) / dt`,
which is that of its middle, and the acceleration :math:`a_f = (v_f - v_{f-1}) / dt`, in which
:math:`v_{-1}` is the velocity now.
"""

import torch
from torch import Tensor

from domains.trajectory.costs.setting import Setting

TINY = 1e-12  # squared lengths below it have no direction, and a gradient of 0


def length(vectors: Tensor) -> Tensor:
    """Return the lengths (...) of vectors (..., 2); the gradient at 0 is 0, not NaN."""
    return vectors.square().sum(-1).clamp(min=TINY).sqrt()


def track(p: Tensor, setting: Setting) -> Tensor:
    """Return the way from now on, (R, A, F + 1, 2), of futures (R, A, F, 2)."""
    now = setting.positions.to(p)[None, :, None].expand(len(p), -1, -1, -1)
    return torch.cat([now, p], dim=2)


def velocities(p: Tensor, setting: Setting) -> Tensor:
    """Return (R, A, F, 2), metres a second, at the middles of the steps."""
    return track(p, setting).diff(dim=2) / setting.dt


def speeds(p: Tensor, setting: Setting) -> Tensor:
    """Return (R, A, F), metres a second, at the middles of the steps."""
    return length(velocities(p, setting))


def accelerations(p: Tensor, setting: Setting) -> Tensor:
    """Return (R, A, F, 2), m/s^2, at the starts of the steps; first 0 if the past is unknown."""
    moving = velocities(p, setting)
    known = setting.velocities.to(p)
    before = torch.where(known.isnan(), moving[:, :, 0], known)
    first = (moving[:, :, 0] - before) / setting.elapsed
    return torch.cat([first[:, :, None], moving.diff(dim=2) / setting.dt], dim=2)


def jerks(p: Tensor, setting: Setting) -> Tensor:
    """Return (R, A, F - 1, 2), m/s^3, at the middles of all steps but the last."""
    return accelerations(p, setting).diff(dim=2) / setting.dt


def positions_at(p: Tensor, setting: Setting, time: float) -> Tensor:
    """Return the positions (R, A, 2) at a time in seconds, linear between steps."""
    step = min(time / setting.dt, setting.horizon)
    before = min(int(step), setting.horizon - 1)
    way = track(p, setting)
    return torch.lerp(way[:, :, before], way[:, :, before + 1], step - before)
