"""People who cross an arm of a junction, once the cars are far enough or stand."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from domains.trajectory.generator.idm import Array
from domains.trajectory.generator.junction import WIDTH, ZEBRA, Junction

KERB = 0.7  # metres from the road, where people wait
EASE = 0.5  # seconds, in which they take up a speed
SLOW = 0.8  # seconds from the kerb, where people begin to slow down
COMFORT = 2.5  # metres / second^2, that they expect of cars
MOST = 4  # people, each on a line of their own
NEAR = 5.0  # metres from a lane, where they keep its cars waiting


@dataclass
class Walkers:
    """P people; each walks straight across one arm.

    Args:
        junction: where.
        arm: (P,).
        out: (P,), metres beyond the junction's edge.
        side: (P,), 1 who begins on the left of the arm (looking outward), -1 on the right.
        left: (P,), metres to the left of the arm's middle.
        desired: (P,), metres a second.
    """

    junction: Junction
    arm: NDArray[np.int64]
    out: Array
    side: NDArray[np.int64]
    left: Array
    desired: Array
    speed: Array = field(init=False)
    crosses: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        self.speed = np.minimum(self.desired, np.maximum(self._before, 0) / SLOW)
        self.crosses = np.zeros(len(self.arm), dtype=bool)

    def step(self, tick: float, may: NDArray[np.bool_]) -> None:
        """Move everybody on by one tick; ``may`` (P,) says who may step on the road."""
        before = self._before
        self.crosses |= may & (before < 1.0)
        waits = ~self.crosses & (before > -1.0)
        wanted = np.where(waits, np.clip(before / SLOW, 0, self.desired), self.desired)
        later = wanted + (self.speed - wanted) * np.exp(-tick / EASE)
        self.left = self.left - self.side * (self.speed + later) / 2 * tick
        self.speed = later

    @property
    def _before(self) -> Array:
        return self.side * self.left - self.junction.lanes * WIDTH - KERB

    def positions(self) -> Array:
        """Return (P, 2)."""
        found = [
            self.junction.at(a, o, x) for a, o, x in zip(self.arm, self.out, self.left, strict=True)
        ]
        return np.array(found).reshape(-1, 2)

    def headings(self) -> Array:
        """Return (P,)."""
        return self.junction.angles[self.arm] - self.side * np.pi / 2

    def may_cross(
        self, before: Array, speeds: Array, arms: NDArray[np.int64], closed: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Return who may step on the road (P,).

        Args:
            before: (A,), metres of each car to the crossing, negative behind it.
            speeds: (A,).
            arms: (A,), where that crossing is.
            closed: (N,), whether cars may enter from an arm, so that people wait; False where
                they need not.
        """
        danger = (before > -7.0) & (before < speeds**2 / (2 * COMFORT) + 0.5 * speeds + 0.3)
        danger &= (speeds > 0.3) | (before < 0.3)
        unsafe = (danger & (arms == self.arm[:, None])).any(-1)
        return ~unsafe & ~closed[self.arm]

    def blocks(self, arm: int, low: float, high: float) -> bool:
        """Return whether somebody crosses an arm's lane from ``low`` to ``high``, or soon will."""
        here = self.crosses & (self.arm == arm)
        to_go = np.where(self.side > 0, self.left - low, high - self.left) + 0.8
        near = to_go < high - low + NEAR
        return bool((here & (to_go > 0) & near).any())


def drawn(rng: np.random.Generator, junction: Junction, count: int, present: float) -> Walkers:
    """Draw people who come to the road about when it is now (seconds since the first tick)."""
    desired = np.clip(rng.normal(1.34, 0.2, count), 0.8, 1.8)
    walk = desired * np.maximum(present + rng.uniform(-6, 3, count), 0.0)
    side = rng.choice([-1, 1], count)
    return Walkers(
        junction,
        arm=rng.integers(len(junction.angles), size=count),
        out=np.linspace(ZEBRA[0] + 0.3, ZEBRA[1] - 0.3, MOST)[rng.permutation(MOST)[:count]],
        side=side,
        left=side * (junction.lanes * WIDTH + KERB + walk),
        desired=desired,
    )
