r"""The space in which a rule that is not affine looks at a difference of two predictions.

At a level (alpha, sigma), x is the same in both branches, so that the difference in any space is a
multiple of that in x0,

.. math:: \Delta\varepsilon = -\tfrac{\alpha}{\sigma} \Delta x_0, \quad
          \Delta v = -\tfrac{\alpha^2 + \sigma^2}{\sigma} \Delta x_0, \quad
          \Delta u = -\tfrac{\alpha + \sigma}{\sigma} \Delta x_0,

and a weighted sum with weights that add up to 1 is the same method in all of them. A projection, a
norm or an angle is not: every such rule declares its space.
"""

from typing import Literal

import torch
from torch import Tensor

from guided.denoiser import Prediction
from guided.schedule import Level

Space = Literal["x0", "eps", "v", "flow"]
SPACES = ("x0", "eps", "v", "flow")


def require_space(space: str, method: str) -> None:
    """Refuse an unknown space.

    Raises:
        ValueError: naming the known ones.
    """
    if space not in SPACES:
        raise ValueError(f"{method} works in one of {', '.join(SPACES)}, got the space {space!r}")


def coordinates(prediction: Prediction, level: Level, space: Space) -> Tensor:
    """Return a prediction in a space, (B, ...)."""
    if space == "x0":
        return prediction.x0
    if space == "eps":
        return prediction.eps
    if space == "v":
        return level.alpha * prediction.eps - level.sigma * prediction.x0
    return prediction.eps - prediction.x0


def moved(prediction: Prediction, by: Tensor, level: Level, space: Space) -> Prediction:
    """Return a prediction moved by so much in a space; x0 and eps stay consistent.

    Raises:
        ValueError: for the space of eps at alpha = 0, where x0 does not follow from eps.
    """
    _, alpha, sigma = level
    if space == "eps":
        if isinstance(alpha, float) and alpha == 0:
            raise ValueError(
                "x0 does not follow from eps at alpha = 0 (pure noise); start the time grid below "
                "1, e.g. uniform(steps, start=0.999)"
            )
        return Prediction(_add(prediction.x0, by, -sigma / alpha), prediction.eps + by)
    slope = {"x0": 1.0, "v": -sigma / (alpha**2 + sigma**2), "flow": -sigma / (alpha + sigma)}[
        space
    ]
    eps = _add(prediction.eps, by, -alpha / sigma * slope)
    return Prediction(_add(prediction.x0, by, slope), eps)


def _add(value: Tensor, by: Tensor, factor: float | Tensor) -> Tensor:
    return value + factor * by if isinstance(factor, Tensor) else torch.add(value, by, alpha=factor)
