"""Draws a measurement of known pictures, to recover them from."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from domains.image.operators.degradation import Degradation
from guided.operator import Operator
from guided.rng import Rng, stream_seed


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
    degradation: Degradation,
    x0: Tensor,
    noise: float = 0.05,
    seed: int = 0,
    index: Sequence[int] | None = None,
) -> Measurement:
    """Measure pictures x0 (P, C, H, W) with Gaussian noise.

    Args:
        degradation: the map.
        x0: the pictures.
        noise: standard deviation, above 0.
        seed: of the noise; every picture has a stream of its own.
        index: number of every picture, so that one has the noise alone that it has among others;
            None is 0, ..., P - 1.

    Raises:
        ValueError: for noise that is not above 0.
    """
    if not noise > 0:
        raise ValueError(f"the noise of a measurement is above 0, got {noise:g}")
    clean = degradation(x0)
    streams = [stream_seed(seed, i) for i in (range(len(x0)) if index is None else index)]
    drawn = Rng(streams).normal(clean.shape, clean.dtype, clean.device)
    y = clean + noise * drawn
    return Measurement(degradation, degradation.operator(y, noise), x0, y, noise)
