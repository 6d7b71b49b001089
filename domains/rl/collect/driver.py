r"""Controllers of Bullet-Safety-Gym's balls and cars, careful or reckless by their parameters.

A track tells the velocity that is wanted at a place; a robot turns it into an action.

Conventions:
    Places are in metres, velocities in metres a second, angles in radians, times in steps. Cars
    start with their backs towards the way of the reward, and drive it in reverse.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from domains.rl.collect.behaviour import Actor, Uniform

Range = tuple[float, float]
Velocity = Callable[[np.ndarray, int], np.ndarray]  # from the place (2,) and the time, (2,)

_AHEAD = 1.5  # metres from the robot to the point of the track that it heads for
_BRAKE = 5.0  # metres a second^2, the deceleration before a ring's side
_BALL_GAIN = 0.8  # force for each metre a second that is missing
_CAR_COAST, _CAR_GAIN, _CAR_STEER = 0.27, 0.6, 2.0  # throttle holding 1 m/s, and feedback gains


@dataclass(frozen=True)
class Driver:
    r"""Drives the track of a Run or Circle task; parameters are drawn for each episode from ranges.

    Speed and lane swing about their means with :math:`\sin(2\pi t / T + \varphi)`, of one period T
    and two phases that are uniform on the circle, so that an episode can cross a limit, come back,
    and cross it again.

    In Run tasks the lane is the place across the track, y, about a mean of 0. In Circle tasks it is
    the largest abs(x) of a ring that is cut off on both sides, and is driven clockwise.

    Args:
        speed: mean of the wanted speed.
        lane: mean of the lane; its sign is drawn in Run tasks.
        surge: amplitude of the speed's swing.
        sway: amplitude of the lane's swing.
        period: of both swings.
        noise: standard deviation of Gaussian noise on the action.
        persistence: correlation of the noise from one step to the next, in [0, 1); 0 = white.
        random: probability that a step's action is uniformly random instead.
        ring: radius in Circle tasks.
    """

    speed: Range
    lane: Range = (0.0, 0.0)
    surge: Range = (0.0, 0.0)
    sway: Range = (0.0, 0.0)
    period: Range = (40.0, 120.0)
    noise: Range = (0.05, 0.05)
    persistence: Range = (0.0, 0.0)
    random: Range = (0.0, 0.0)
    ring: Range = (7.0, 7.0)

    def start(self, env: Any, rng: np.random.Generator) -> Actor:
        """Draw this episode's parameters.

        Raises:
            ValueError: for an environment that is no Run or Circle task of a ball or car.
        """
        drawn = {f.name: float(rng.uniform(*getattr(self, f.name))) for f in fields(self)}
        phases = rng.uniform(0.0, 2 * np.pi, 2)
        task, agent = (_class_of(env.unwrapped, name) for name in ("task", "agent"))
        if task not in _TRACKS or agent not in _ROBOTS:
            raise ValueError(
                f"Driver got {env.unwrapped}; it drives a {' or '.join(_ROBOTS)} in a "
                f"{' or '.join(_TRACKS)} of Bullet-Safety-Gym"
            )
        sign = rng.choice([-1.0, 1.0])
        wanted = _TRACKS[task](drawn, phases, sign)
        return _DriverActor(Uniform().start(env, rng), _ROBOTS[agent], wanted, drawn, rng)

    def describe(self) -> str:
        """Return the ranges that are not zero."""
        drawn = (
            f"{f.name} U[{low:g}, {high:g}]"
            for f in fields(self)
            for low, high in (getattr(self, f.name),)
            if (low, high) != (0.0, 0.0)
        )
        return f"a driver, per episode {', '.join(drawn)}"


class _DriverActor:
    def __init__(
        self,
        uniform: Actor,
        robot: Callable[[np.ndarray, np.ndarray], np.ndarray],
        wanted: Velocity,
        drawn: dict[str, float],
        rng: np.random.Generator,
    ) -> None:
        self._robot, self._wanted, self._rng = robot, wanted, rng
        self._noise, self._persistence = drawn["noise"], drawn["persistence"]
        self._random, self._uniform = drawn["random"], uniform
        self._fresh = float(np.sqrt(1 - self._persistence**2))
        self._push = rng.standard_normal(2)
        self._time = 0

    def act(self, observation: np.ndarray) -> np.ndarray:
        """Return the action, (2,), float32 in [-1, 1]."""
        wanted = self._wanted(10.0 * observation[:2], self._time)
        self._time += 1
        self._push = self._persistence * self._push + self._fresh * self._rng.standard_normal(2)
        if self._rng.random() < self._random:
            return self._uniform.act(observation)
        action = self._robot(observation, wanted) + self._noise * self._push
        return np.clip(action, -1.0, 1.0).astype(np.float32)


def _class_of(env: Any, name: str) -> str:
    return type(getattr(env, name, None)).__name__


def _swing(drawn: dict[str, float], phase: float) -> Callable[[int], float]:
    return lambda time: float(np.sin(2 * np.pi * time / drawn["period"] + phase))


# A track is made of an episode's parameters, the phases of both swings, and the side of its lane,
# which a ring has none of.


def _run(drawn: dict[str, float], phases: np.ndarray, sign: float) -> Velocity:
    surge, sway = (_swing(drawn, phase) for phase in phases)

    def wanted(place: np.ndarray, time: int) -> np.ndarray:
        lane = sign * drawn["lane"] + drawn["sway"] * sway(time)
        speed = max(drawn["speed"] + drawn["surge"] * surge(time), 0.0)
        return speed * _towards(np.array([_AHEAD, lane - place[1]]))

    return wanted


def _circle(drawn: dict[str, float], phases: np.ndarray, sign: float) -> Velocity:
    surge, sway = (_swing(drawn, phase) for phase in phases)

    def wanted(place: np.ndarray, time: int) -> np.ndarray:
        widest = max(drawn["lane"] + drawn["sway"] * sway(time), 0.0)
        speed = max(drawn["speed"] + drawn["surge"] * surge(time), 0.0)
        off = abs(float(np.hypot(*place)) - drawn["ring"])  # far from the ring, not straight at it
        angle = np.arctan2(place[1], place[0]) - (_AHEAD + off) / drawn["ring"]
        target = drawn["ring"] * np.array([np.cos(angle), np.sin(angle)])
        target[0] = np.clip(target[0], -widest, widest)
        velocity = speed * _towards(target - place)
        left, right = (_braked(side - place[0]) for side in (-widest, widest))
        velocity[0] = np.clip(velocity[0], left, right)
        return velocity

    return wanted


def _braked(distance: float) -> float:
    return float(np.sign(distance) * np.sqrt(2 * _BRAKE * abs(distance)))


def _towards(offset: np.ndarray) -> np.ndarray:
    return offset / max(float(np.hypot(*offset)), 1e-9)


def _ball(observation: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    return _BALL_GAIN * (wanted - 5.0 * observation[2:4])


def _car(observation: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return throttle and steering; the car turns at a rate of about 0.46 times speed x steering.

    In reverse both throttle and turn rate change sign.
    """
    sin, cos = observation[4:6]
    speed, back = float(np.hypot(*wanted)), -float(observation[2:4] @ (cos, sin))
    course = np.arctan2(wanted[1], wanted[0]) + np.pi - np.arctan2(sin, cos)
    error = (course + np.pi) % (2 * np.pi) - np.pi
    throttle = _CAR_COAST * speed + _CAR_GAIN * (speed - back)
    return np.array([-throttle, -_CAR_STEER * error])


_TRACKS = {"RunTask": _run, "CircleTask": _circle}
_ROBOTS = {"Ball": _ball, "RaceCar": _car}
