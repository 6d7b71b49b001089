r"""When drivers change the lane: MOBIL, minimizing overall braking induced by lane changes.

A driver changes if it is safe, a_n' >= -b_safe for the new follower n, and worth it:

    a_c' - a_c + p [a_n' - a_n + a_o' - a_o] > threshold

where c is the driver, o the old follower, and a prime marks the situation after the change.
"""

import numpy as np
from numpy.typing import NDArray

from domains.trajectory.generator.idm import FREE, Array, Drivers

POLITENESS = 0.3  # p
THRESHOLD = 0.25  # metres a second squared
SAFE = 2.5  # b_safe, metres a second squared
ROOM = 3.0  # metres, the least gap to both sides


def ahead(ways: Array, mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], Array]:
    """Return who is next ahead of each among those of a mask (A, A), and how far (A,).

    Row i of the mask says who counts for i. With nobody ahead the distance is
    :data:`domains.trajectory.generator.idm.FREE`.
    """
    apart = ways - ways[:, None]
    apart = np.where(mask & (apart > 0), apart, FREE)
    found = apart.argmin(-1)
    return found, apart[np.arange(len(ways)), found]


def follow(
    drivers: Drivers, who: NDArray[np.int64], whom: NDArray[np.int64], apart: Array, speeds: Array
) -> Array:
    """Return what it costs drivers ``who`` (A,) to follow ``whom`` (A,), ``apart`` metres away."""
    gaps = apart - (drivers.lengths[who] + drivers.lengths[whom]) / 2
    picked = Drivers(
        drivers.desired[who],
        drivers.headway[who],
        drivers.gap[who],
        drivers.push[who],
        drivers.brake[who],
        drivers.lengths[who],
    )
    costs = picked.interaction(speeds[who], gaps, speeds[who] - speeds[whom])
    return np.where(apart >= FREE, 0.0, costs)


def gains(
    drivers: Drivers,
    ways: Array,
    speeds: Array,
    on: NDArray[np.bool_],
    lane: NDArray[np.int64],
    to: NDArray[np.int64],
) -> Array:
    """Return what changing to a lane is worth to each driver (A,), -inf where it is not safe.

    Args:
        drivers: A.
        ways: (A,).
        speeds: (A,).
        on: (A, L), whether a car is (partly) on a lane.
        lane: (A,), where they are.
        to: (A,), where they would go.

    Source:
        Kesting, Treiber & Helbing 2007, General lane-changing model MOBIL for car-following models,
        equations 2 and 3.
    """
    self = np.arange(len(ways))
    other = ~np.eye(len(ways), dtype=bool)
    old, new = on[:, lane].T & other, on[:, to].T & other
    old_leader, old_ahead = ahead(ways, old)
    new_leader, new_ahead = ahead(ways, new)
    old_follower, old_behind = ahead(-ways, old)
    new_follower, new_behind = ahead(-ways, new)

    def after(
        rear: NDArray[np.int64], behind: Array, front: NDArray[np.int64], far: Array
    ) -> Array:
        apart = np.where((behind >= FREE) | (far >= FREE), FREE, behind + far)
        return follow(drivers, rear, front, apart, speeds)

    own = follow(drivers, self, new_leader, new_ahead, speeds)
    pressed = follow(drivers, new_follower, self, new_behind, speeds)
    others = pressed - after(new_follower, new_behind, new_leader, new_ahead)
    others += after(old_follower, old_behind, old_leader, old_ahead)
    others -= follow(drivers, old_follower, self, old_behind, speeds)
    gain = own - follow(drivers, self, old_leader, old_ahead, speeds) + POLITENESS * others
    room = np.minimum(new_ahead, new_behind) > drivers.lengths.max() + ROOM
    return np.where((pressed > -SAFE) & (own > -SAFE) & room, gain, -np.inf)
