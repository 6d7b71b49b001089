r"""How drivers keep their distance: the intelligent driver model.

    dv/dt = a [1 - (v / v0)^delta - (s* / s)^2],   s* = s0 + max(0, v T + v dv / (2 sqrt(a b)))

with the gap s to the vehicle ahead, and dv, by how much one is faster than it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

HARDEST = 6.0  # metres a second squared, the most that any car brakes
FREE = 1e4  # metres, a gap with nobody ahead
EXPONENT = 4.0


@dataclass(frozen=True)
class Drivers:
    """Drivers of A cars, by the intelligent driver model.

    Args:
        desired: v0 (A,), metres a second.
        headway: T (A,), seconds to the vehicle ahead.
        gap: s0 (A,), metres, kept when standing.
        push: a (A,), metres a second squared, the most they accelerate.
        brake: b (A,), metres a second squared, how they like to brake.
        lengths: (A,), metres, of the cars.

    Source:
        Treiber, Hennecke & Helbing 2000, Congested traffic states in empirical observations and
        microscopic simulations, equations 2 and 3.
    Differs:
        Nobody brakes harder than 6 m/s^2. Who is faster than v0 brakes by
        b (1 - (v0 / v)^(a delta / b)), so that a lower limit is no emergency (Treiber & Kesting
        2013, Traffic Flow Dynamics, equation 11.13).
    """

    desired: Array
    headway: Array
    gap: Array
    push: Array
    brake: Array
    lengths: Array

    def free(self, speeds: Array, desired: Array) -> Array:
        """Return accelerations (A,) with nobody ahead, for speeds desired here (A,)."""
        ratio = speeds / np.maximum(desired, 0.1)
        slower = self.push * (1 - np.minimum(ratio, 1.0) ** EXPONENT)
        power = -self.push * EXPONENT / self.brake
        faster = self.brake * (1 - np.maximum(ratio, 1.0) ** power)
        return slower - faster

    def interaction(self, speeds: Array, gaps: Array, closing: Array) -> Array:
        """Return the acceleration (...) that a vehicle ahead costs, 0 or less.

        Args:
            speeds: v (..., A).
            gaps: s (..., A), metres between the bumpers.
            closing: dv (..., A), how much faster one is than the vehicle ahead.
        """
        dynamic = speeds * self.headway + speeds * closing / (2 * np.sqrt(self.push * self.brake))
        wanted = self.gap + np.maximum(0.0, dynamic)
        return -self.push * (wanted / np.maximum(gaps, 0.1)) ** 2

    def equilibrium_gap(self, speeds: Array) -> Array:
        """Return the gaps (A,) at which they keep a speed (A,) below the desired one."""
        rest = 1 - (speeds / self.desired) ** EXPONENT
        return (self.gap + speeds * self.headway) / np.sqrt(rest)


def drawn(rng: np.random.Generator, desired: Array) -> Drivers:
    """Draw drivers with given desired speeds (A,): timid and bold ones."""
    count = len(desired)
    return Drivers(
        desired=desired,
        headway=rng.uniform(0.9, 1.8, count),
        gap=rng.uniform(1.5, 2.5, count),
        push=rng.uniform(1.2, 2.2, count),
        brake=rng.uniform(1.6, 2.6, count),
        lengths=rng.uniform(4.0, 5.2, count),
    )


def advance(ways: Array, speeds: Array, pushes: Array, tick: float) -> tuple[Array, Array]:
    """Return the ways and speeds (A,) a tick later; braking ends at a stand."""
    later = np.maximum(0.0, speeds + np.clip(pushes, -HARDEST, None) * tick)
    return ways + (speeds + later) / 2 * tick, later
