"""Scenes out of nothing: seeded traffic and pedestrians, the default data of the domain.

highway   cars follow each other and change lanes, some come from a ramp
crossing  cars turn and yield at a junction, people cross
plaza     people walk alone or together between the exits of a place
mixed     any of these
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from domains.trajectory.generator import crossing, highway, plaza
from domains.trajectory.generator.clock import Clock
from domains.trajectory.generator.tracks import Tracks, scene
from domains.trajectory.scene import Scene
from guided.rng import stream_seed

SIMULATIONS: dict[str, tuple[Callable[[Clock, np.random.Generator], Tracks], float]] = {
    "highway": (highway.simulate, highway.WARM),
    "crossing": (crossing.simulate, crossing.WARM),
    "plaza": (plaza.simulate, plaza.WARM),
}
GENERATED = (*SIMULATIONS, "mixed")


def generate(kind: str, seed: int, steps: int = 22, dt: float = 0.5, now: int = 9) -> Scene:
    """Return a scene.

    Args:
        kind: one of :data:`GENERATED`.
        seed: 0 or more; the same seed is the same scene.
        steps: recorded, history and future.
        dt: seconds between them, a multiple of 0.1.
        now: the last step of the history.

    Raises:
        ValueError: for an unknown kind, a negative seed, or steps, dt and now that do not fit.
    """
    if kind not in GENERATED:
        raise ValueError(f"unknown kind of scene {kind!r}; expected one of {', '.join(GENERATED)}")
    if seed < 0:
        raise ValueError(f"a seed is an integer of 0 or more, got {seed}; take another")
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    one = str(rng.choice(list(SIMULATIONS))) if kind == "mixed" else kind
    simulate, warm = SIMULATIONS[one]
    clock = Clock(steps, dt, now, warm)
    return scene(simulate(clock, rng), f"{one}-{seed}", clock, rng)


def scenes(
    kind: str,
    count: int,
    seed: int = 0,
    steps: int = 22,
    dt: float = 0.5,
    now: int = 9,
    first: int = 0,
) -> Iterator[Scene]:
    """Yield scenes first, ..., first + count - 1 of a stream; none depends on the others.

    Args:
        kind: one of :data:`GENERATED`.
        count: how many.
        seed: of the stream.
        steps: see :func:`generate`.
        dt: see :func:`generate`.
        now: see :func:`generate`.
        first: of the stream.

    Raises:
        ValueError: as :func:`generate`.
    """
    for i in range(first, first + count):
        found = generate(kind, stream_seed(seed, i), steps, dt, now)
        one = found.name.split("-")[0]
        yield replace(found, name=f"{one}-{seed}-{i}")


__all__ = ["GENERATED", "generate", "scenes"]
