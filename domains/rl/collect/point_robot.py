"""Behaviours for the point robot: drivers of every caution, the late, and one of extremes."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from domains.rl.safe.point_robot import GOAL, HAZARD_RADIUS, HAZARDS

Range = tuple[float, float]

SLOW, FAST = 0.3, 2.5  # metres a second


@dataclass(frozen=True)
class Driver:
    """Steers to the goal, and away from hazards as far as it cares.

    The heading that it wants is that of the unit vector to the goal, plus for each hazard one that
    points away from its centre, ``caution * exp(-(clearance - gap) / 0.3)`` long, where the
    clearance is that to the rim. Every episode draws its own number from each range.

    Args:
        caution: strength of the repulsion; 0 drives through hazards.
        gap: clearance, in metres, at which the repulsion is ``caution``.
        speed: that it tries to keep, in metres a second.
        noise: deviation of what is added to both actions; it lasts for about ten steps.
    """

    caution: Range
    gap: Range = (0.0, 0.2)
    speed: Range = (0.5, 2.0)
    noise: Range = (0.05, 0.3)

    def start(self, env: Any, rng: np.random.Generator) -> "_DriverActor":
        """Return the actor of an episode that was just reset."""
        ranges = self.caution, self.gap, self.speed, self.noise
        caution, gap, speed, noise = (float(rng.uniform(*own)) for own in ranges)
        return _DriverActor(caution, gap, speed, noise, rng)

    def describe(self) -> str:
        """Return the parameters."""
        return (
            f"steers to the goal with caution U{self.caution}, gap U{self.gap} m, speed "
            f"U{self.speed} m/s and lasting noise of deviation U{self.noise}"
        )


class _DriverActor:
    LASTING = 0.9  # share of the noise that the next step keeps

    def __init__(
        self, caution: float, gap: float, speed: float, noise: float, rng: np.random.Generator
    ) -> None:
        self.caution, self.gap, self.speed, self.noise, self.rng = caution, gap, speed, noise, rng
        self.push = noise * rng.normal(size=2)

    def act(self, observation: Any) -> np.ndarray:
        x, y, v, cos, sin = observation[:5]
        to_goal = GOAL - (x, y)
        wanted = to_goal / (np.hypot(*to_goal) + 1e-6)
        for distance, along, left in observation[5:].reshape(-1, 3):
            towards = np.array([cos * along - sin * left, sin * along + cos * left])
            near = np.exp(min((self.gap - (distance - HAZARD_RADIUS)) / 0.3, 3.0))
            wanted = wanted - self.caution * near * towards
        ahead, aside = cos * wanted[0] + sin * wanted[1], cos * wanted[1] - sin * wanted[0]
        turn = np.arctan2(aside, ahead)
        # Slower where the way that it wants is not the way that it goes.
        target = self.speed * max(np.cos(turn), 0.2)
        kept = np.sqrt(1 - self.LASTING**2)
        self.push = self.LASTING * self.push + kept * self.noise * self.rng.normal(size=2)
        action = np.array([3 * (target - v), 3 * turn]) + self.push
        return action.clip(-1, 1).astype(np.float32)


@dataclass(frozen=True)
class Late:
    """Heads for a hazard or past it, and escapes late: full brake, full turn away from its centre.

    It escapes once the clearance is less than ``nerve * v^2 / 2``, where 1 is what straight braking
    needs, until it is slow or the hazard is behind. Every episode draws its nerve, and every
    approach its hazard, its speed and the point, up to a metre beside the centre, that it heads
    for.

    Args:
        nerve: share of the braking distance; low is late.
        astray: probability that it turns the wrong way, or not at all.
    """

    nerve: Range = (0.0, 1.5)
    astray: float = 0.15

    def start(self, env: Any, rng: np.random.Generator) -> "_LateActor":
        """Return the actor of an episode that was just reset."""
        return _LateActor(float(rng.uniform(*self.nerve)), self.astray, rng)

    def describe(self) -> str:
        """Return the parameters."""
        return (
            f"heads for hazards, brakes fully and turns away at U{self.nerve} of the braking "
            f"distance, astray with probability {self.astray}"
        )


class _LateActor:
    def __init__(self, nerve: float, astray: float, rng: np.random.Generator) -> None:
        self.nerve, self.astray, self.rng = nerve, astray, rng
        self.turn: float | None = None  # of an escape; None on the way
        self._approach()

    def act(self, observation: Any) -> np.ndarray:
        x, y, v, cos, sin = observation[:5].tolist()
        hazards = observation[5:].reshape(-1, 3)
        distance, along, left = hazards[hazards[:, 0].argmin()].tolist()
        if self.turn is None and along > 0:
            if distance - HAZARD_RADIUS < self.nerve * v * v / 2:
                away = -1.0 if left > 0 else 1.0
                wrong = self.rng.uniform() < self.astray
                self.turn = float(self.rng.choice([0.0, -away])) if wrong else away
        elif self.turn is not None and (v < SLOW or along < 0):
            self.turn = None
            self._approach()
        if self.turn is not None:
            return np.array([-1.0, self.turn], np.float32)
        east, north = self.aim[0] - x, self.aim[1] - y
        bearing = np.arctan2(cos * north - sin * east, cos * east + sin * north)
        return np.array([3 * (self.speed - v), 3 * bearing], np.float32).clip(-1, 1)

    def _approach(self) -> None:
        centre = HAZARDS[self.rng.integers(len(HAZARDS))]
        self.aim = centre + self.rng.uniform(-1, 1, 2)
        self.speed = self.rng.uniform(SLOW, FAST)


@dataclass(frozen=True)
class Extremes:
    """Holds extreme actions for a while: brakes or coasts or speeds up, while it turns or not.

    Near a hazard that is what shows how late one can still escape. It brakes half of the time, but
    speeds up again where it is slow, and brakes where it is faster than the task.

    Args:
        hold: steps that an action is held.
    """

    hold: tuple[int, int] = (3, 40)

    def start(self, env: Any, rng: np.random.Generator) -> "_ExtremesActor":
        """Return the actor of an episode that was just reset."""
        return _ExtremesActor(self.hold, rng)

    def describe(self) -> str:
        """Return the parameters."""
        return f"extreme accelerations (half of them brake) and turns, held U{self.hold} steps"


class _ExtremesActor:
    def __init__(self, hold: tuple[int, int], rng: np.random.Generator) -> None:
        self.hold, self.rng, self.left = hold, rng, 0
        self.action = np.zeros(2)

    def act(self, observation: Any) -> np.ndarray:
        speed = observation[2]
        if self.left == 0:
            self.left = int(self.rng.integers(*self.hold, endpoint=True))
            choices = [0, 1, 1] if speed < SLOW else [-1, -1, 0, 1]
            self.action = np.array([self.rng.choice(choices), self.rng.choice([-1, 0, 1])])
        self.left -= 1
        accelerate, turn = self.action.tolist()
        if speed <= 0 and accelerate < 0:
            self.left, accelerate = 0, 0
        if speed > FAST:
            accelerate = -1
        return np.array([accelerate, turn], np.float32)
