"""The two bounds of a lane point by point, and the line between them."""

import numpy as np

from domains.trajectory.polylines import arc_lengths
from domains.trajectory.road import Points


def paired(left: Points, right: Points) -> tuple[Points, Points]:
    """Return two bounds with the same number of points, (n, 2) each, and their shapes kept.

    Bounds of one length in points are taken as pairs already, as CommonRoad has them. Otherwise
    each gets points where the other has some, at the same share of its way.

    Args:
        left: (l, 2).
        right: (r, 2), in the same direction.
    """
    if len(left) == len(right):
        return left, right
    shares = [arc_lengths(line) for line in (left, right)]
    shares = [way / (way[-1] or 1.0) for way in shares]
    at = np.unique(np.concatenate(shares).round(9))
    found = [
        np.stack([np.interp(at, way, line[:, i]) for i in range(2)], axis=-1)
        for way, line in zip(shares, (left, right), strict=True)
    ]
    return found[0], found[1]


def middle(left: Points, right: Points) -> Points:
    """Return the line between two bounds, (n, 2): the mean of their pairs of points."""
    return np.mean(paired(left, right), axis=0)
