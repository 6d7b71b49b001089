r"""Noise schedules, time grids and the notation of the whole project.

Symbols
-------
Forward kernel: :math:`x_t = \alpha_t x_0 + \sigma_t \varepsilon`, with
:math:`\varepsilon \sim N(0, I)` and :math:`t \in [0, 1]`; ``t = 1`` is noise, ``t = 0`` is data.
A step goes from ``t`` to ``s < t`` and always names both. In these symbols

===========  ==========================================================
noise        :math:`\varepsilon = (x - \alpha x_0) / \sigma`
score        :math:`(\alpha x_0 - x) / \sigma^2`
velocity     :math:`v = \alpha \varepsilon - \sigma x_0`
flow         :math:`u = \varepsilon - x_0` (for ``alpha = 1 - t, sigma = t``)
===========  ==========================================================

One sign everywhere: the target is :math:`p(x_0) \exp(-E(x_0))`; lower energy is better. Axis 0 is
the independent sample, and the core interprets no other axis.

A run turns its time grid once into :class:`Level` values of Python floats, so that the sampling
loop does no tensor work on the schedule.
"""

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Level(NamedTuple):
    """One noise level: Python floats in a sampling run, tensors of shape (B, 1, ...) in training.

    Tensors of shape (B, T, 1) give every token its own level; all formulas broadcast.
    """

    t: Any
    alpha: Any
    sigma: Any

    @property
    def noise_to_signal(self) -> Any:
        """The ratio sigma / alpha, which is the sigma of EDM; infinite where alpha is 0."""
        if isinstance(self.alpha, Tensor):
            return self.sigma / self.alpha
        return self.sigma / self.alpha if self.alpha > 0 else math.inf


@dataclass(frozen=True)
class Schedule(ABC):
    """The map t -> (alpha, sigma)."""

    def __call__(self, t: Any) -> tuple[Any, Any]:
        """Return alpha and sigma at time ``t`` (a float, or a tensor of any shape)."""
        if isinstance(t, Tensor):
            return self._coefficients(t)
        alpha, sigma = self._coefficients(torch.tensor(float(t), dtype=torch.float64))
        return alpha.item(), sigma.item()

    @abstractmethod
    def _coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return alpha and sigma, with the shape and dtype of ``t``."""

    @abstractmethod
    def time(self, ratio: float) -> float:
        """Return the time at which sigma / alpha equals ``ratio`` (the inverse of the schedule)."""

    def level(self, t: float | Tensor) -> Level:
        """Return the :class:`Level` at time ``t``."""
        return Level(t, *self(t))

    def levels(self, times: Iterable[float]) -> list[Level]:
        """Return the levels of a decreasing time grid, as Python floats.

        Raises:
            ValueError: if the grid is shorter than two, leaves [0, 1] or does not decrease.
        """
        grid = [float(t) for t in times]
        falling = all(t > s for t, s in itertools.pairwise(grid))
        if len(grid) < 2 or not falling or grid[0] > 1 or grid[-1] < 0:
            shown = ", ".join(f"{t:.4g}" for t in grid[:6])
            raise ValueError(
                f"a time grid needs at least two strictly decreasing times in [0, 1], got [{shown}"
                f"{', ...' if len(grid) > 6 else ''}]; make one with guided.schedule.uniform(steps)"
            )
        alphas, sigmas = self._coefficients(torch.tensor(grid, dtype=torch.float64))
        return list(map(Level, grid, alphas.tolist(), sigmas.tolist()))

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready description; :func:`from_dict` is its inverse."""
        return {"name": type(self).__name__, **asdict(self)}


@dataclass(frozen=True)
class VPLinear(Schedule):
    r"""Variance preserving with beta linear in t.

    .. math:: \alpha_t = \exp(-\tfrac14 t^2 (\beta_1 - \beta_0) - \tfrac12 t \beta_0),
              \quad \sigma_t = \sqrt{1 - \alpha_t^2}

    Source: Song et al. 2021, Score-based generative modeling through SDEs, eq. 32-33.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def _coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        log_alpha = -0.25 * t**2 * (self.beta_max - self.beta_min) - 0.5 * t * self.beta_min
        return log_alpha.exp(), (-torch.expm1(2 * log_alpha)).sqrt()

    def time(self, ratio: float) -> float:
        """Return t with sigma / alpha = ratio."""
        if math.isinf(ratio):
            return 1.0
        log_alpha = -0.5 * math.log1p(ratio**2)
        slope = self.beta_max - self.beta_min
        # The positive root of slope t^2 / 4 + beta_min t / 2 + log_alpha = 0, in its stable form.
        root = math.sqrt(self.beta_min**2 - 4 * slope * log_alpha)
        return min(1.0, -4 * log_alpha / (self.beta_min + root)) if ratio > 0 else 0.0


@dataclass(frozen=True)
class Cosine(Schedule):
    r"""Variance preserving, :math:`\alpha_t = \cos(\tfrac{\pi}{2} e t)`.

    Args:
        end: the e above; below 1 it keeps alpha(1) above zero (as the clipped betas of the source
            do), so that an eps-prediction stays defined at t = 1. 1 ends in pure noise.

    Source: Nichol & Dhariwal 2021, Improved DDPM, eq. 17, with offset 0.
    """

    end: float = 0.995

    def _coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        angle = 0.5 * math.pi * self.end * t
        return angle.cos(), angle.sin()

    def time(self, ratio: float) -> float:
        """Return t with sigma / alpha = ratio."""
        return min(1.0, math.atan(ratio) / (0.5 * math.pi * self.end))


@dataclass(frozen=True)
class VE(Schedule):
    r"""Variance exploding (EDM): :math:`\alpha = 1, \sigma_t = \sigma_{\max} t^\rho`.

    The power makes a grid that is uniform in t the grid of EDM (see :func:`karras`).

    Source: Karras et al. 2022, Elucidating the design space of diffusion models, eq. 5.
    """

    sigma_max: float = 80.0
    rho: float = 7.0

    def _coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(t), self.sigma_max * t**self.rho

    def time(self, ratio: float) -> float:
        """Return t with sigma = ratio."""
        return min(1.0, (ratio / self.sigma_max) ** (1 / self.rho))


@dataclass(frozen=True)
class RectifiedFlow(Schedule):
    r"""Straight paths: :math:`\alpha_t = 1 - t, \sigma_t = t`.

    Source: Liu et al. 2022, Flow straight and fast; Lipman et al. 2022, Flow matching.
    """

    def _coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return 1 - t, t

    def time(self, ratio: float) -> float:
        """Return t with sigma / alpha = ratio."""
        return 1.0 if math.isinf(ratio) else ratio / (1 + ratio)


SCHEDULES: dict[str, type[Schedule]] = {
    kind.__name__: kind for kind in (VPLinear, Cosine, VE, RectifiedFlow)
}


def from_dict(description: dict[str, Any]) -> Schedule:
    """Rebuild a schedule from :meth:`Schedule.to_dict`.

    Raises:
        ValueError: for an unknown name.
    """
    fields = dict(description)
    name = fields.pop("name", None)
    if name not in SCHEDULES:
        raise ValueError(f"unknown schedule {name!r}; expected one of {', '.join(SCHEDULES)}")
    return SCHEDULES[name](**fields)


def uniform(steps: int, start: float = 1.0) -> list[float]:
    """Return ``steps + 1`` equally spaced times from ``start`` to 0."""
    _check_steps(steps)
    return [start * (steps - i) / steps for i in range(steps)] + [0.0]


def karras(
    schedule: Schedule,
    steps: int,
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
    rho: float = 7.0,
) -> list[float]:
    """Return the EDM grid: sigma / alpha falls with its rho-th root in equal steps, then to 0.

    ``sigma_min`` and ``sigma_max`` bound the ratio sigma / alpha; the upper one is cut where the
    schedule ends.

    Raises:
        ValueError: for bounds that are turned round or not positive, or a rho that is not.

    Source: Karras et al. 2022, eq. 5.
    """
    _check_steps(steps)
    _check_bounds(sigma_min, sigma_max)
    if not 0 < rho < math.inf:
        raise ValueError(f"the rho of a time grid is positive, got {rho}; 7 is usual")
    top = min(sigma_max, schedule.level(1.0).noise_to_signal) ** (1 / rho)
    low = sigma_min ** (1 / rho)
    ratios = ((top + i / max(steps - 1, 1) * (low - top)) ** rho for i in range(steps))
    return [schedule.time(r) for r in ratios] + [0.0]


def log_snr(
    schedule: Schedule, steps: int, sigma_min: float = 0.002, sigma_max: float = 80.0
) -> list[float]:
    """Return a grid uniform in log(alpha / sigma), then 0. Bounds as in :func:`karras`."""
    _check_steps(steps)
    _check_bounds(sigma_min, sigma_max)
    top = math.log(min(sigma_max, schedule.level(1.0).noise_to_signal))
    low = math.log(sigma_min)
    ratios = (math.exp(top + i / max(steps - 1, 1) * (low - top)) for i in range(steps))
    return [schedule.time(r) for r in ratios] + [0.0]


def _check_bounds(sigma_min: float, sigma_max: float) -> None:
    if not 0 < sigma_min <= sigma_max:
        raise ValueError(
            f"a time grid goes from a larger to a smaller ratio of noise to signal, both positive, "
            f"got sigma_min={sigma_min} and sigma_max={sigma_max}"
        )


def _check_steps(steps: int) -> None:
    if steps < 1:
        raise ValueError(f"a time grid needs at least 1 step, got {steps}")
