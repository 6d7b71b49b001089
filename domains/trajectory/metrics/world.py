"""Metrics of the Argoverse 2 multi-world forecasting challenge, for one scenario.

Conventions: K worlds, N actors (those whose forecast is scored), F steps, metres. The order of axes
is (K, N, F, 2), where the package av2 has actors first. A miss is strict (more than 2 m at the
end), so is a collision (nearer than 1 m). Figures are means over the actors of a world; the
challenge then averages over scenarios, see :func:`averaged`.

The challenge chooses one world, that of the least mean FDE, and takes all its figures there. The
minima of JADE and JFDE are independent of it and never larger: state which one a table shows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from domains.trajectory.metrics.inputs import Array, Mask, checked_worlds, require_positive, seen
from domains.trajectory.metrics.joint import JointErrors, joint_errors

MISS = 2.0
COLLISION = 1.0


@dataclass(frozen=True)
class MultiWorld:
    """Figures of one scenario; the first six are those of the challenge.

    Args:
        best: index of the world with the least mean FDE, the first of equals.
        ade: mean ADE of the best world.
        fde: mean FDE of the best world.
        miss_rate: share of actors that the best world misses.
        collision_rate: share of actors that collide in the best world.
        brier_fde: ``fde`` + (1 - p)^2 with the best world's probability p.
        min_jade: least mean ADE of any world.
        min_jfde: least mean FDE of any world, equal to ``fde``.
        min_ade: mean over actors of each actor's least ADE.
        min_fde: mean over actors of each actor's least FDE.
    """

    best: int
    ade: float
    fde: float
    miss_rate: float
    collision_rate: float
    brier_fde: float
    min_jade: float
    min_jfde: float
    min_ade: float
    min_fde: float


def world_ade(worlds: ArrayLike, truth: ArrayLike) -> Array:
    """Return the mean over actors of the ADE of each world, (K,).

    Args:
        worlds: (K, N, F, 2) metres.
        truth: (N, F, 2) metres.

    Raises:
        ValueError: for shapes that do not fit, broken numbers, or an actor that was never seen.

    Differs:
        Steps at which the truth is NaN are left out; av2 returns NaN for them.
    """
    return _errors(worlds, truth).jade


def world_fde(worlds: ArrayLike, truth: ArrayLike) -> Array:
    """Return the mean over actors of the FDE of each world, (K,); see :func:`world_ade`."""
    return _errors(worlds, truth).jfde


def misses(worlds: ArrayLike, truth: ArrayLike, threshold: float = MISS) -> Mask:
    """Return whose FDE is more than a threshold, (K, N); see :func:`world_ade`.

    Args:
        worlds: (K, N, F, 2) metres.
        truth: (N, F, 2) metres.
        threshold: metres; an FDE of exactly that is no miss.
    """
    require_positive("threshold", threshold)
    return _errors(worlds, truth).fde > threshold


def brier_fde(
    worlds: ArrayLike, truth: ArrayLike, probabilities: ArrayLike, renormalise: bool = False
) -> Array:
    """Return the mean FDE of each world with a penalty for doubt, FDE_k + (1 - p_k)^2, (K,).

    Args:
        worlds: (K, N, F, 2) metres.
        truth: (N, F, 2) metres.
        probabilities: (K,), each from 0 to 1; their sum is not asked for.
        renormalise: divide them by their sum.

    Raises:
        ValueError: as :func:`world_ade`, and for probabilities of another length or range.
    """
    fde = world_fde(worlds, truth)
    return fde + (1 - _checked_probabilities(probabilities, len(fde), renormalise)) ** 2


def collisions(worlds: ArrayLike, threshold: float = COLLISION) -> Mask:
    """Return who comes near another actor of the same world at the same step, (K, N).

    Distances are between centres at the steps themselves: shapes do not count, nor what happens
    between steps. A lone actor never collides.

    Args:
        worlds: (K, N, F, 2) metres.
        threshold: metres; a distance of exactly that is no collision.

    Raises:
        ValueError: for another shape, broken numbers, or a threshold that is not positive.
    """
    worlds = checked_worlds(worlds)
    require_positive("threshold", threshold)
    found = np.zeros(worlds.shape[:2], dtype=bool)
    for n in range(worlds.shape[1]):  # one actor at a time: memory grows with N, not with N^2
        gaps = np.linalg.norm(worlds - worlds[:, n : n + 1], axis=-1)
        gaps[:, n] = np.inf
        found[:, n] = gaps.min((1, 2)) < threshold
    return found


def multi_world(
    worlds: ArrayLike,
    truth: ArrayLike,
    probabilities: ArrayLike,
    renormalise: bool = False,
    miss: float = MISS,
    collision: float = COLLISION,
) -> MultiWorld:
    """Return the figures of one scenario.

    Args:
        worlds: (K, N, F, 2) metres, of the actors that are scored.
        truth: (N, F, 2) metres.
        probabilities: (K,), each from 0 to 1.
        renormalise: divide them by their sum.
        miss: metres, see :func:`misses`.
        collision: metres, see :func:`collisions`.

    Raises:
        ValueError: for shapes that do not fit, broken numbers, an actor that was never seen, or
            probabilities of another length or range.

    Source:
        Wilson et al., 2021, Argoverse 2: Next Generation Datasets for Self-Driving Perception and
        Forecasting; the rules of the multi-world challenge as the package av2 computes them.
    """
    errors = _errors(worlds, truth)
    best = int(errors.jfde.argmin())
    return MultiWorld(
        best=best,
        ade=float(errors.jade[best]),
        fde=float(errors.jfde[best]),
        miss_rate=float(misses(worlds, truth, miss)[best].mean()),
        collision_rate=float(collisions(worlds, collision)[best].mean()),
        brier_fde=float(brier_fde(worlds, truth, probabilities, renormalise)[best]),
        min_jade=errors.min_jade,
        min_jfde=errors.min_jfde,
        min_ade=errors.min_ade,
        min_fde=errors.min_fde,
    )


def averaged(scenarios: Sequence[MultiWorld]) -> dict[str, float]:
    """Return the means over scenarios by their names in the challenge, and how many there were.

    Every scenario counts the same, however many actors it has.

    Raises:
        ValueError: without a scenario.
    """
    if not scenarios:
        raise ValueError("no scenario was scored, so there is no mean; score at least one")
    names = {
        "avgMinADE": "ade",
        "avgMinFDE": "fde",
        "actorMR": "miss_rate",
        "actorCR": "collision_rate",
        "avgBrierMinFDE": "brier_fde",
        "minJADE": "min_jade",
        "minJFDE": "min_jfde",
        "minADE": "min_ade",
        "minFDE": "min_fde",
    }
    means = {
        name: float(np.mean([getattr(s, field) for s in scenarios]))
        for name, field in names.items()
    }
    return {"scenarios": len(scenarios), **means}


def _errors(worlds: ArrayLike, truth: ArrayLike) -> JointErrors:
    errors = joint_errors(worlds, truth)
    missing = np.flatnonzero(~seen(np.asarray(truth, dtype=np.float64)).any(-1))
    if len(missing):
        raise ValueError(
            f"actor {missing[0]} was never seen after now; leave it out of the worlds and of the "
            f"truth"
        )
    return errors


def _checked_probabilities(probabilities: ArrayLike, count: int, renormalise: bool) -> Array:
    found = np.asarray(probabilities, dtype=np.float64)
    if found.shape != (count,):
        raise ValueError(
            f"{count} worlds need probabilities of shape ({count},), got {found.shape}; give each "
            f"world one"
        )
    if not ((found >= 0) & (found <= 1)).all():
        raise ValueError(
            f"probabilities lie from 0 to 1, got {found.min():g} to {found.max():g}; divide them "
            f"by their sum"
        )
    if not renormalise:
        return found
    if not found.sum() > 0:
        raise ValueError("probabilities are all 0, so they have no shares; make one positive")
    return found / found.sum()
