r"""Noise schedules and time grids of diffusers, in our t: 0 is data, 1 is noise.

diffusers numbers the noise levels of training n = 0, ..., N - 1 and has no number for data. Here
level n is at :math:`t = (n + 1) / N`, so that t = 0 is data.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from guided.schedule import RectifiedFlow, Schedule


@dataclass(frozen=True, repr=False)
class DiffusersSchedule(Schedule):
    r"""Variance preserving, from a table of :math:`\bar\alpha_n = \alpha^2` at N timesteps.

    Between the timesteps the angle :math:`\arctan(\sigma / \alpha)` is linear in t.

    Args:
        alphas_cumprod: the table, strictly falling within [0, 1).

    Raises:
        ValueError: for another table.

    Source: Ho et al. 2020 (DDPM), eq. 4. The table is that of a scheduler of diffusers, which
        computes it in float32.
    """

    alphas_cumprod: tuple[float, ...]

    def __post_init__(self) -> None:
        table = np.asarray(self.alphas_cumprod)
        if table.size == 0 or table[0] >= 1 or table[-1] < 0 or (np.diff(table) >= 0).any():
            raise ValueError(
                f"alphas_cumprod must fall strictly within [0, 1), got {table.size} values"
                f"{f' from {table[0]:.4g} to {table[-1]:.4g}' if table.size else ''}"
            )

    def __repr__(self) -> str:
        first, *_, last = *self.alphas_cumprod, self.alphas_cumprod[-1]
        return f"DiffusersSchedule({self.count} timesteps, alpha^2 from {first:.6g} to {last:.6g})"

    @property
    def count(self) -> int:
        """Return N, the number of timesteps."""
        return len(self.alphas_cumprod)

    def timestep(self, t: Any) -> Any:
        """Return the timestep n that a network is given at t, 0 below the first one.

        Args:
            t: a float, or a tensor of any shape.
        """
        if isinstance(t, Tensor):
            return (t * self.count - 1).clamp(min=0)
        return max(t * self.count - 1, 0.0)

    def at(self, timestep: Any) -> Any:
        """Return t of a timestep; -1 is data."""
        return (timestep + 1) / self.count

    def time(self, ratio: float) -> float:
        """Return the t at which sigma / alpha equals ``ratio``, at most 1."""
        places = np.arange(self.count + 1) / self.count
        return float(np.interp(math.atan(ratio), self._angles[0].numpy(), places))

    def _coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        place = (t.double() * self.count).clamp(0, self.count)
        low = place.floor().clamp(max=self.count - 1)
        angle, rest = (
            torch.lerp(knots[low.long()], knots[low.long() + 1], place - low)
            for knots in self._angles.to(t.device)
        )
        return rest.sin().to(t.dtype), angle.sin().to(t.dtype)

    @cached_property
    def _angles(self) -> Tensor:
        """The angle and the rest to a right angle, (2, N + 1): both ends are exact."""
        squares = torch.tensor([1.0, *self.alphas_cumprod], dtype=torch.float64)
        alpha, sigma = squares.sqrt(), (1 - squares).sqrt()
        return torch.stack([torch.atan2(sigma, alpha), torch.atan2(alpha, sigma)])


@dataclass(frozen=True)
class DiffusersFlow(RectifiedFlow):
    """Straight paths whose network is given t times ``count``.

    Args:
        count: N, ``num_train_timesteps`` of the scheduler.
    """

    count: int = 1000

    def timestep(self, t: Any) -> Any:
        """Return the timestep that a network is given at t, a float or a tensor."""
        return t * self.count

    def at(self, timestep: Any) -> Any:
        """Return t of a timestep; 0 is data."""
        return timestep / self.count


def schedule_of(scheduler: Any) -> DiffusersSchedule | DiffusersFlow:
    """Return the noise schedule that a scheduler of diffusers stands for.

    Args:
        scheduler: one with ``alphas_cumprod``, or of flow matching.

    Raises:
        ValueError: for any other.
    """
    kind, config = type(scheduler).__name__, getattr(scheduler, "config", {})
    if kind.startswith("FlowMatch") or config.get("use_flow_sigmas"):
        return DiffusersFlow(config["num_train_timesteps"])
    table = getattr(scheduler, "alphas_cumprod", None)
    if not isinstance(table, Tensor):
        raise ValueError(
            f"{kind} has no alphas_cumprod and is not of flow matching, so its noise levels are "
            f"unknown; give the DDPMScheduler that the network was trained with"
        )
    return DiffusersSchedule(tuple(table.double().tolist()))


def timesteps_grid(scheduler: Any) -> list[float]:
    """Return the time grid on which a pipeline of diffusers would walk, its last level included.

    So that ``DDIM(denoiser).sample(x, timesteps_grid(scheduler), rng=...)`` is its ``DDIMPipeline``
    with the same x and no clipping (see :class:`~guided.adapters.diffusers.ClipSample`). Their x
    starts with standard deviation 1, ours with sigma, a little below.

    Args:
        scheduler: after its ``set_timesteps``.

    Raises:
        ValueError: before ``set_timesteps``, or for a scheduler without a known schedule.

    Differs: every step goes to the next of the scheduler's timesteps. Their DDIM goes N // steps
        timesteps back, which is another one where the grid is not even (``linspace``, or
        ``trailing`` with steps that do not divide N). A timestep that they visit twice is here
        once.
    """
    schedule = schedule_of(scheduler)
    if getattr(scheduler, "num_inference_steps", None) is None:
        raise ValueError(
            f"{type(scheduler).__name__} has no timesteps yet; call its set_timesteps(steps) first"
        )
    sigmas = getattr(scheduler, "sigmas", None)
    if sigmas is None:
        times = [schedule.at(n) for n in (*scheduler.timesteps.tolist(), _last(scheduler))]
    elif isinstance(schedule, DiffusersFlow):
        times = sigmas.tolist()
    else:
        times = [schedule.time(ratio) for ratio in sigmas.tolist()]
    return list(dict.fromkeys(times))


def _last(scheduler: Any) -> int:
    """Return where the last step goes: -1, data, or 0, the first timestep."""
    return -1 if float(getattr(scheduler, "final_alpha_cumprod", 1.0)) == 1 else 0
