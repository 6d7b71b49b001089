r"""A point robot between two hazards: small enough for its feasible set to be computed.

Conventions:
    A state is :math:`(x, y, v, \theta)`: place in metres, speed in metres a second, heading in
    radians. An action is :math:`(a, \omega)`, acceleration and turn rate, both in [-1, 1]. The
    margin is :math:`h = 0.8 - \text{distance to the nearest hazard's centre}`, positive inside one.

Source: Zheng et al., 2024, "Safe Offline Reinforcement Learning with Feasibility-Guided Diffusion
Model", https://arxiv.org/abs/2401.10700, and its code, https://github.com/ZhengYinan-AIR/FISOR.
"""

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import ArrayLike

ID = "guided/PointRobot-v0"
DT = 0.05  # seconds a step
HAZARDS = np.array([[0.4, -1.2], [-0.4, 1.2]])
HAZARD_RADIUS = 0.8
GOAL = np.array([2.2, 2.2])
GOAL_RADIUS = 0.3
HALF_WIDTH = 3.0  # an episode ends where |x| or |y| is larger

_START_LOW = np.array([-HALF_WIDTH, -HALF_WIDTH, 0.5, np.pi / 4])
_START_HIGH = np.array([HALF_WIDTH, HALF_WIDTH, 2.0, 3 * np.pi / 4])


def step_states(states: np.ndarray, actions: np.ndarray) -> np.ndarray:
    r"""Return the states one step on, by the explicit Euler method.

    :math:`x' = x + v \cos\theta\,dt`, :math:`y' = y + v \sin\theta\,dt`, :math:`v' = v + a\,dt`,
    :math:`\theta' = \theta + \omega\,dt`; the speed has no bounds and may be negative.

    Args:
        states: (..., 4).
        actions: (..., 2), clipped to [-1, 1].
    """
    v, theta = states[..., 2], states[..., 3]
    accelerate, turn = np.moveaxis(np.clip(actions, -1.0, 1.0), -1, 0)
    rates = np.broadcast_arrays(v * np.cos(theta), v * np.sin(theta), accelerate, turn)
    return states + DT * np.stack(rates, -1)


def observe(states: np.ndarray) -> np.ndarray:
    r"""Return observations, (..., 11), float32, of states, (..., 4).

    They are :math:`x, y, v, \cos\theta, \sin\theta`, and for each hazard the distance to its centre
    and the cosine and sine of its bearing, measured from the heading, anticlockwise.
    """
    v, theta = states[..., 2], states[..., 3]
    cos, sin = np.cos(theta), np.sin(theta)
    parts = [states[..., 0], states[..., 1], v, cos, sin]
    for centre in HAZARDS:
        east, north = np.moveaxis(centre - states[..., :2], -1, 0)
        bearing = np.arctan2(cos * north - sin * east, cos * east + sin * north)
        parts += [np.hypot(east, north), np.cos(bearing), np.sin(bearing)]
    return np.stack(parts, -1).astype(np.float32)


def margin(states: np.ndarray) -> np.ndarray:
    """Return h of states, (..., 4) or places, (..., 2): (...), in metres, positive in a hazard."""
    offsets = states[..., None, :2] - HAZARDS
    return HAZARD_RADIUS - np.hypot(offsets[..., 0], offsets[..., 1]).min(-1)


def draw_starts(rng: np.random.Generator, count: int) -> np.ndarray:
    """Return states as the environment starts in, (count, 4)."""
    return rng.uniform(_START_LOW, _START_HIGH, (count, 4))


class PointRobot(gymnasium.Env):
    """The robot drives to a goal in a box of 6 by 6 metres; the hazards do not stop it.

    The reward is the decrease of the distance to the goal's centre, and 1 more at the goal. An
    episode ends at the goal and outside the box; its id, ``guided/PointRobot-v0``, adds a limit of
    300 steps. Starts are uniform in the box, with speeds in [0.5, 2] and headings in [pi/4, 3pi/4].

    ``info`` holds ``cost``, 1.0 inside a hazard and else 0.0, and ``margin``, h; both are those of
    the state after the step, and in ``reset`` those of the start.

    Source: see the module.
    Differs: ``cost`` is 1 inside a hazard, and not outside as in the original code; all randomness
    comes from ``reset(seed=...)``; the time limit is Gymnasium's.
    """

    def __init__(self) -> None:
        unbounded, unit = [np.inf] * 3, [1.0, 1.0]
        high = np.array([*unbounded, *unit, np.inf, *unit, np.inf, *unit], np.float32)
        low = -high
        low[[5, 8]] = 0.0  # distances
        self.observation_space = gymnasium.spaces.Box(low, high, dtype=np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.state = np.zeros(4)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, float]]:
        """Start an episode.

        Args:
            seed: of the starts to come; None goes on with the last.
            options: ``{"state": [x, y, v, theta]}`` starts there; None draws the start.

        Raises:
            ValueError: for another option, or a state that is not 4 finite numbers.
        """
        super().reset(seed=seed)
        unknown = set(options or {}) - {"state"}
        if unknown:
            raise ValueError(f"PointRobot got the options {sorted(unknown)}; it knows 'state'")
        if options and options.get("state") is not None:
            self.state = _finite("state", options["state"], 4)
        else:
            self.state = draw_starts(self.np_random, 1)[0]
        return observe(self.state), self._info()

    def step(self, action: ArrayLike) -> tuple[np.ndarray, float, bool, bool, dict[str, float]]:
        """Take one step of 0.05 s; actions outside [-1, 1] are clipped.

        Raises:
            ValueError: for an action that is not 2 finite numbers.
        """
        before = self._distance()
        self.state = step_states(self.state, _finite("action", action, 2))
        after = self._distance()
        arrived = after <= GOAL_RADIUS
        outside = bool((np.abs(self.state[:2]) > HALF_WIDTH).any())
        reward = before - after + float(arrived)
        return observe(self.state), reward, arrived or outside, False, self._info()

    def _distance(self) -> float:
        return float(np.hypot(*(self.state[:2] - GOAL)))

    def _info(self) -> dict[str, float]:
        h = float(margin(self.state))
        return {"cost": float(h > 0), "margin": h}


def _finite(name: str, given: ArrayLike, count: int) -> np.ndarray:
    try:
        vector = np.array(given, dtype=np.float64)
    except (TypeError, ValueError):
        vector = np.array(np.nan)
    if vector.shape != (count,) or not np.isfinite(vector).all():
        said = " ".join(repr(given).split())[:60]
        raise ValueError(f"PointRobot got the {name} {said}; give {count} finite numbers")
    return vector


def register() -> None:
    """Tell Gymnasium of ``guided/PointRobot-v0``; a second time does nothing."""
    if ID not in gymnasium.registry:
        gymnasium.register(ID, f"{__name__}:PointRobot", max_episode_steps=300)
