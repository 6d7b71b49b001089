r"""Everybody walks straight on: no learning, one world, and hard to beat.

With the position :math:`p` now and a velocity :math:`v` of the past, in metres a step,

.. math:: p_f = p + (f + 1)\, v, \qquad f = 0, ..., F - 1.

===============  ===========================================================
function         v
===============  ===========================================================
``last_step``    between the last two steps at which the agent was seen
``mean_step``    mean from the first to the last of them
``standing``     0
===============  ===========================================================

Someone who was seen once stands. Only the history of a scene is read.

Source: Schöller, Aravantinos, Lay & Knoll, 2020, What the constant velocity model can teach us
    about pedestrian motion prediction, https://arxiv.org/abs/1903.07933.
"""

import numpy as np
from numpy.typing import NDArray

from domains.trajectory.forecast import Forecast
from domains.trajectory.readers.eth_ucy import FUTURE
from domains.trajectory.scene import Scene

Array = NDArray[np.float64]


def last_step(scene: Scene, steps: int = FUTURE) -> Forecast:
    """Return the forecast by the velocity of the last step.

    Args:
        scene: with anybody seen now.
        steps: F, of the scene's own length.
    """
    return _straight(scene, scene.velocities() * scene.dt, steps)


def mean_step(scene: Scene, steps: int = FUTURE) -> Forecast:
    """Return the forecast by the mean velocity of the history; see :func:`last_step`."""
    velocities = np.zeros((scene.agents, 2))
    for a in np.flatnonzero(scene.present):
        first = int(scene.valid[a, : scene.now + 1].argmax())
        moved = scene.positions[a, scene.now] - scene.positions[a, first]
        velocities[a] = moved / max(1, scene.now - first)
    return _straight(scene, velocities, steps)


def standing(scene: Scene, steps: int = FUTURE) -> Forecast:
    """Return the forecast in which nobody moves; see :func:`last_step`."""
    return _straight(scene, np.zeros((scene.agents, 2)), steps)


def _straight(scene: Scene, velocities: Array, steps: int) -> Forecast:
    """Move who is there now by velocities (A, 2), metres a step."""
    agents = np.flatnonzero(scene.present)
    ahead = np.arange(1, steps + 1)[:, None] * velocities[agents, None]
    world = scene.positions[agents, scene.now][:, None] + ahead
    return Forecast(scene, agents, world[None], scene.dt, np.ones(1))
