"""A hand-written controller of Gymnasium's Pendulum: pump energy, then hold the pole upright."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from domains.rl.collect.behaviour import Actor

# A rod of mass 1, length 1, g = 10: inertia 1/3, and weight times the lever of its centre.
_INERTIA, _WEIGHT = 1 / 3, 5.0
# The holding gains beat gravity near the top; further out the torque of 2 is too small for them.
_NEAR, _STIFFNESS, _BRAKE = 0.9, 12.0, 3.0


@dataclass(frozen=True)
class SwingUp:
    r"""Energy-shaping swing-up, then PD control, with white noise on the torque.

    Near the top: u = -12 theta - 3 theta'. Elsewhere: u = pump theta' (E_top - E), whose sign is
    that of the power which the energy E lacks.

    Args:
        pump: gain of the energy, the range it is drawn from for each episode; about 1 is good.
        noise: standard deviation of the torque's noise, a range, in newton metres.
    """

    pump: tuple[float, float]
    noise: tuple[float, float]

    def start(self, env: Any, rng: np.random.Generator) -> Actor:
        """Draw this episode's parameters."""
        return _SwingUpActor(rng.uniform(*self.pump), rng.uniform(*self.noise), rng)

    def describe(self) -> str:
        """Return the ranges."""
        return (
            f"energy swing-up and PD control, per episode pump U[{self.pump[0]:g}, "
            f"{self.pump[1]:g}], noise U[{self.noise[0]:g}, {self.noise[1]:g}]"
        )


class _SwingUpActor:
    def __init__(self, pump: float, noise: float, rng: np.random.Generator) -> None:
        self._pump, self._noise, self._rng = pump, noise, rng

    def act(self, observation: np.ndarray) -> np.ndarray:
        cosine, sine, speed = (float(value) for value in observation)
        angle = np.arctan2(sine, cosine)
        if cosine > _NEAR:
            torque = -_STIFFNESS * angle - _BRAKE * speed
        else:
            energy = _INERTIA * speed**2 / 2 + _WEIGHT * cosine
            torque = self._pump * speed * (_WEIGHT - energy)
        torque += self._noise * self._rng.standard_normal()
        return np.array([np.clip(torque, -2.0, 2.0)], dtype=np.float32)
