"""Draws a measurement of known pictures, to recover them from."""

from dataclasses import dataclass

from torch import Tensor

from domains.image.operators.degradation import Degradation
from guided.operator import Operator
from guided.rng import Rng


@dataclass(frozen=True)
class Measurement:
    """What is measured of P pictures.

    Args:
        degradation: the map without noise.
        operator: the map with what was measured, for methods.
        truth: the pictures (P, C, H, W), which no method sees.
        y: the measurements (P, *out).
        noise: standard deviation of the noise, in units of pixels in [-1, 1].
    """

    degradation: Degradation
    operator: Operator
    truth: Tensor
    y: Tensor
    noise: float


def corrupt(
    degradation: Degradation, x0: Tensor, noise: float = 0.05, seed: int = 0, first: int = 0
) -> Measurement:
    """Measure pictures x0 (P, C, H, W) with Gaussian noise.

    Args:
        degradation: the map.
        x0: the pictures.
        noise: standard deviation, above 0.
        seed: of the noise; every picture has a stream of its own.
        first: number of the first picture, so that pictures measured in parts have the noise that
            they have together.

    Raises:
        ValueError: for noise that is not above 0.
    """
    if not noise > 0:
        raise ValueError(f"the noise of a measurement is above 0, got {noise:g}")
    clean = degradation(x0)
    drawn = Rng.per_sample(seed, len(x0), first).normal(clean.shape, clean.dtype, clean.device)
    y = clean + noise * drawn
    return Measurement(degradation, degradation.operator(y, noise), x0, y, noise)
