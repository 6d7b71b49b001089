"""Pictures from degraded measurements of them: every method on the same problem."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from tqdm import tqdm

from domains.image.inverse_methods import METHODS
from domains.image.inversion import Inversion, Settings
from domains.image.operators import Measurement
from domains.image.prior import Prior
from guided.rng import Rng, stream_seed

DRAWS = 1  # the key of the streams of methods; those of measurements have none


@dataclass(frozen=True)
class Recovery:
    """What a method found, and what it took.

    Args:
        members: pictures (P, members, C, H, W), one row a measured picture.
        rows: network evaluations of one picture.
        vjps: vector-Jacobian products of network calls, of all pictures at once.
        simulations: evaluations of the operator.
        seconds: of the run, on one core: what all threads took together.
    """

    members: Tensor
    rows: int
    vjps: int
    simulations: int
    seconds: float


def recover(
    method: str,
    prior: Prior,
    measurement: Measurement,
    settings: Settings,
    seed: int = 0,
    index: Sequence[int] | None = None,
) -> Recovery:
    """Recover P measured pictures by a method, with a progress bar.

    Args:
        method: a name of :data:`METHODS`.
        prior: what is known of pictures.
        measurement: what was measured.
        settings: how to recover.
        seed: of the draws, which are those of every other method.
        index: number of every picture, so that one is recovered alone as among others; None is 0,
            ..., P - 1.

    Raises:
        ValueError: for an unknown method, or pictures of another shape than the prior's.
        NotApplicable: for a method that cannot take the operator or the prior.
    """
    require_method(method)
    problems = len(measurement.y)
    if measurement.truth.shape[1:] != prior.shape:
        raise ValueError(
            f"the prior is of pictures {tuple(prior.shape)}, got measurements of "
            f"{tuple(measurement.truth.shape[1:])}; measure pictures of its shape"
        )
    numbers = range(problems) if index is None else index
    rng = Rng([stream_seed(seed, number, DRAWS) for number in numbers])
    given, began = Inversion(prior, measurement, settings, rng), time.process_time()
    for members in tqdm(METHODS[method](given), desc=method, unit="step", leave=False):
        found = members
    rows, seconds = given.denoiser.rows // problems, time.process_time() - began
    members = found.detach().unflatten(0, (problems, -1))
    return Recovery(members, rows, given.denoiser.vjps, given.tally.rows // problems, seconds)


def require_method(name: str) -> None:
    """Refuse a method that is none.

    Raises:
        ValueError: with the names.
    """
    if name not in METHODS:
        raise ValueError(f"unknown method {name!r}; expected {', '.join(METHODS)}")
