"""States to mean 0 and deviation 1, actions to [-1, 1] and back: a value that checkpoints keep."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from domains.rl.data.offline import OfflineData

FLOOR = 1e-3  # least deviation, for entries that never or hardly vary


@dataclass(frozen=True)
class Normaliser:
    """The numbers that a policy's network needs around it.

    Args:
        mean: of the states, (S,).
        std: of the states, positive, (S,).
        low: least action of the environment, (A,).
        high: largest action of the environment, (A,).

    Raises:
        ValueError: for a deviation that is not positive, or bounds that are not finite and apart.
    """

    mean: Tensor
    std: Tensor
    low: Tensor
    high: Tensor

    def __post_init__(self) -> None:
        if self.mean.shape != self.std.shape or self.low.shape != self.high.shape:
            raise ValueError(
                f"got mean {tuple(self.mean.shape)}, std {tuple(self.std.shape)}, low "
                f"{tuple(self.low.shape)}, high {tuple(self.high.shape)}; expected pairs alike"
            )
        if not (self.std > 0).all():
            raise ValueError(f"std must be positive, got {self.std.tolist()}; use 1 where it is 0")
        span = self.high - self.low
        if not (span.isfinite() & (span > 0)).all():
            raise ValueError(
                f"bounds of actions must be finite and apart, got low {self.low.tolist()} and high "
                f"{self.high.tolist()}; give the data finite ones"
            )

    @classmethod
    def of(cls, data: OfflineData) -> "Normaliser":
        """Return what normalises the states (final ones count too) and actions of data."""
        std, mean = torch.std_mean(data.states.double(), 0, correction=0)
        return cls(mean.float(), std.clamp(min=FLOOR).float(), data.low, data.high)

    def states(self, states: Tensor) -> Tensor:
        """Return states (..., S) with the mean taken off, in deviations."""
        return (states - self.mean) / self.std

    def actions(self, actions: Tensor) -> Tensor:
        """Return actions (..., A) of the environment in [-1, 1]."""
        return (actions - self.low) * (2 / (self.high - self.low)) - 1

    def actions_back(self, actions: Tensor) -> Tensor:
        """Return actions (..., A) in [-1, 1] as the environment takes them; no clipping."""
        return self.low + (actions + 1) * ((self.high - self.low) / 2)

    def tensors(self) -> dict[str, Tensor]:
        """Return the numbers by name, as a checkpoint keeps them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "Normaliser":
        """Return what :meth:`tensors` was called on.

        Raises:
            ValueError: for missing or unknown names.
        """
        names = [field.name for field in fields(cls)]
        if sorted(tensors) != sorted(names):
            raise ValueError(f"got the tensors {sorted(tensors)}, expected {sorted(names)}")
        return cls(**tensors)
