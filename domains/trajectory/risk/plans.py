"""The worlds of a forecast as plans of one agent, and the risk of each."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domains.trajectory.bodies import SIZES
from domains.trajectory.forecast import Forecast
from domains.trajectory.risk.discs import Discs
from domains.trajectory.risk.dynamics import PointMass, Tracker, Unicycle
from domains.trajectory.risk.filter import Kept, keep_safe
from domains.trajectory.risk.reach import ReachDensity
from domains.trajectory.scene import Scene

ON_FOOT = ("pedestrian", "other", "static")
TIGHTEST = 0.2  # 1/m: the turns of whoever steers


@dataclass(frozen=True)
class Doubt:
    """How uncertain an agent's first state is, as deviations."""

    position: float = 0.3
    """Metres, along and across."""
    speed: float = 0.3
    """Metres a second; of a pedestrian, in each direction."""
    heading: float = 0.05
    """Radians; a pedestrian has none."""


def density(
    scene: Scene, ego: int, doubt: Doubt, samples: int = 2000, seed: int = 0
) -> ReachDensity:
    """Return the reachable states of an agent: a point mass on foot, else a unicycle.

    Args:
        scene: where it is now.
        ego: its index.
        doubt: about its first state.
        samples: states to draw.
        seed: of them.

    Raises:
        ValueError: for a deviation that is not positive.
    """
    if not min(doubt.position, doubt.speed, doubt.heading) > 0:
        raise ValueError(
            f"an uncertain state needs deviations above 0, got {doubt.position}, {doubt.speed} and "
            f"{doubt.heading}; choose small ones for a state that is known"
        )
    place, moving = scene.positions[ego, scene.now], scene.velocities()[ego]
    dynamics: Tracker
    if scene.kinds[ego] in ON_FOOT:
        dynamics, state = PointMass(), moving
        deviations = (doubt.position, doubt.position, doubt.speed, doubt.speed)
    else:
        heading = float(scene.headings[ego, scene.now])
        along = float(moving @ (np.cos(heading), np.sin(heading)))
        dynamics, state = Unicycle(max_curvature=TIGHTEST), np.array([heading, along])
        deviations = (doubt.position, doubt.position, doubt.heading, doubt.speed)
    cov = np.diag(np.square(deviations))
    return ReachDensity(dynamics, np.concatenate([place, state]), cov, samples, seed=seed)


def radii(forecast: Forecast, ego: int) -> NDArray[np.float64]:
    """Return the distances (N - 1,), metres, at which the others touch an agent.

    A body counts as a disc as wide as it is: contact of two flanks is found in time, that of a
    front and a back late. Larger ones find that, and count cars that pass each other as well.
    """
    kinds = [forecast.scene.kinds[a] for a in forecast.agents if a != ego]
    return np.array([_radius(kind) + _radius(forecast.scene.kinds[ego]) for kind in kinds])


def judged(
    forecast: Forecast,
    ego: int,
    reach: ReachDensity,
    limit: float,
    radius: float | None = None,
    margin: float = 0.0,
) -> Kept:
    """Return the risk of every plan of an agent, and which are kept.

    Its plans are its futures in the K worlds. The others move as in the worlds with their
    probabilities, whichever plan it follows.

    Args:
        forecast: of the agent and the others.
        ego: its index into the scene.
        reach: how it follows a plan.
        limit: the risk of contact at any step that is allowed.
        radius: metres between centres; None goes by the kinds.
        margin: standard errors added to each risk.

    Raises:
        ValueError: for an agent without a forecast, or numbers out of their range.
    """
    obstacles = Discs.of(forecast, ego, radii(forecast, ego) if radius is None else radius)
    return keep_safe(plans(forecast, ego), forecast.dt, reach, obstacles, limit, margin)


def plans(forecast: Forecast, ego: int) -> NDArray[np.float64]:
    """Return the futures (K, F, 2) of an agent that the forecast has."""
    return forecast.worlds[:, list(forecast.agents).index(ego)]


def _radius(kind: str) -> float:
    return SIZES[kind][1] / 2
