"""What a plan must not touch: discs that move with the predicted agents, in K possible worlds."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from domains.trajectory.forecast import Forecast


@dataclass(frozen=True)
class Discs:
    """Obstacles at every step, in each of K worlds.

    Args:
        worlds: (K, N, F, 2) metres, as in :class:`Forecast`; N = 0 is an empty road.
        probabilities: (K,), with the sum 1.
        radius: metres between centres below which the agent touches an obstacle, so the sum of
            both radii; a number, or one per obstacle (N,).

    Raises:
        ValueError: for parts that do not fit each other, a position that is no number, a radius
            that is not positive, or probabilities that do not sum to 1.
    """

    worlds: NDArray[np.float64]
    probabilities: NDArray[np.float64]
    radius: float | NDArray[np.float64]

    def __post_init__(self) -> None:
        shape = self.worlds.shape
        if len(shape) != 4 or shape[-1] != 2 or not np.isfinite(self.worlds).all():
            raise ValueError(
                f"worlds need finite positions of shape (K, N, F, 2), got {shape}; drop agents "
                f"without a prediction"
            )
        total, counted = self.probabilities.sum(), self.probabilities.shape == shape[:1]
        if not counted or (self.probabilities < 0).any() or not np.isclose(total, 1, atol=1e-6):
            raise ValueError(
                f"probabilities need shape ({shape[0]},), none below 0 and the sum 1, got "
                f"{self.probabilities.shape} and {total:.6g}"
            )
        radii = np.asarray(self.radius)
        if radii.shape not in ((), (shape[1],)) or not (radii > 0).all():
            raise ValueError(
                f"a radius is positive, one number or one for each of {shape[1]} obstacles, got "
                f"{radii.tolist()}"
            )

    @classmethod
    def of(cls, forecast: Forecast, ego: int, radius: float | NDArray[np.float64]) -> "Discs":
        """Return everybody in a forecast but one agent, by its index into the scene's agents.

        Raises:
            ValueError: for an agent that the forecast does not have.
        """
        others = forecast.agents != ego
        if others.all():
            raise ValueError(
                f"the forecast has no agent {ego}; it has {forecast.agents.tolist()} of the scene"
            )
        return cls(forecast.worlds[:, others], forecast.probabilities, radius)

    def touched(self, positions: Tensor) -> Tensor:
        """Tell which positions (..., F, 2) lie in an obstacle of their step, (K, ..., F).

        Raises:
            ValueError: for another number of steps.
        """
        steps = self.worlds.shape[2]
        if positions.shape[-2] != steps:
            raise ValueError(
                f"the obstacles have {steps} steps and the plans {positions.shape[-2]}; cut the "
                f"longer ones, or resample them to one dt"
            )
        near = positions.new_zeros((len(self.worlds), *positions.shape[:-1]), dtype=torch.bool)
        centres = torch.as_tensor(self.worlds).to(positions)
        radii = np.broadcast_to(np.asarray(self.radius, float), centres.shape[1])
        for world, touched in zip(centres, near, strict=True):
            for centre, radius in zip(world, radii.tolist(), strict=True):
                touched |= (positions - centre).square().sum(-1) < radius**2
        return near
