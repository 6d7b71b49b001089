"""How near a straight line passes."""

import numpy as np

from domains.trajectory.metrics.inputs import Array


def distance_to_origin(start: Array, end: Array) -> Array:
    """Return the least distance from the origin to straight segments.

    The nearest point is start + w (end - start), with w = -start . (end - start) / |end - start|^2
    kept within 0 and 1. A segment without length is a point.

    Args:
        start: (..., 2) metres.
        end: (..., 2) metres, of a shape that broadcasts with ``start``.

    Returns:
        (...) metres.
    """
    move = end - start
    length = np.einsum("...i,...i", move, move)
    along = -np.einsum("...i,...i", start, move)
    share = np.clip(along / np.where(length > 0, length, 1.0), 0.0, 1.0)
    nearest = start + share[..., None] * move
    return np.sqrt(np.einsum("...i,...i", nearest, nearest))
