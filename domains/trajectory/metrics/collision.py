"""Collision rate of pedestrians, continuous in time.

Conventions: K worlds, N people, F steps, metres. People are discs that move straight between steps;
two collide where their centres come strictly nearer than two radii at any time from the first to
the last predicted step. The way from the present position to the first step is not looked at. A
rate is the share of the people of a world who are hit; a lone person has the rate 0.
"""

import numpy as np
from numpy.typing import ArrayLike

from domains.trajectory.metrics.inputs import Array, Mask, checked_worlds, require_positive
from domains.trajectory.metrics.segments import distance_to_origin

RADIUS = 0.1
AT_ONCE = 2_000_000  # pairs of points in memory: worlds are taken in blocks of about that many


def hits(worlds: ArrayLike, radius: float = RADIUS) -> Mask:
    """Return who collides with anybody of the same world, (K, N).

    Args:
        worlds: (K, N, F, 2) metres; the truth is one world more.
        radius: of a person, metres.

    Raises:
        ValueError: for another shape, broken numbers, or a radius that is not positive.

    Source:
        Weng, Hoshino, Ramanan, Kitani, 2023, Joint Metrics Matter: A Better Standard for
        Trajectory Forecasting, and its code.
    """
    worlds = checked_worlds(worlds)
    require_positive("radius", radius)
    count, people, steps, _ = worlds.shape
    first, second = np.triu_indices(people, 1)
    found = np.zeros((count, people), dtype=bool)
    block = max(1, AT_ONCE // max(1, len(first) * steps))
    for start in range(0, count, block):
        part = slice(start, start + block)
        met = _meet(worlds[part][:, first] - worlds[part][:, second], 2 * radius)
        world, pair = np.nonzero(met)
        found[part][world, first[pair]] = True
        found[part][world, second[pair]] = True
    return found


def collision_rates(worlds: ArrayLike, radius: float = RADIUS) -> Array:
    """Return the share of people who collide in each world, (K,); see :func:`hits`.

    Its mean over the worlds is CR_mean, its value at the world of the least JADE is CR_JADE.
    """
    return hits(worlds, radius).mean(1)


def _meet(apart: Array, reach: float) -> Mask:
    """Return which offsets (K, pairs, F, 2) come nearer than ``reach`` to 0, (K, pairs)."""
    lone = apart.shape[2] == 1  # a segment without length
    start, end = (apart, apart) if lone else (apart[:, :, :-1], apart[:, :, 1:])
    return distance_to_origin(start, end).min(-1) < reach
