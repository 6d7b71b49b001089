"""Scenes of highway-env: its roads and its traffic, recorded without a learner in it.

Its y axis points down; scenes are mirrored, so that headings are counter-clockwise.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domains.trajectory.generator.clock import TICK, Clock
from domains.trajectory.road import Lane, Points, RoadMap
from domains.trajectory.scene import Scene

PIECE = 60.0  # metres of a lane of the map, at most
SAMPLE = 3.0  # metres between its points
JOINED = 1.5  # metres between the end of a lane and the start of its successor, at most
TUNED = ("DISTANCE_WANTED", "COMFORT_ACC_MAX", "COMFORT_ACC_MIN")
Key = tuple[str, str, int]


def record_highway(
    env_id: str,
    seed: int,
    steps: int = 22,
    dt: float = 0.5,
    now: int = 9,
    reach: float = 100.0,
) -> Scene:
    """Return a scene of a highway-env environment, in which everybody drives by its own models.

    A car that has crashed or left the road is no longer seen.

    Args:
        env_id: such as ``highway-fast-v0``, ``merge-v0``, ``intersection-v0``, ``roundabout-v0``.
        seed: the same seed is the same scene.
        steps: recorded, history and future.
        dt: seconds between them, a multiple of 0.1.
        now: the last step of the history.
        reach: metres from the environment's own car now, within which others are kept.

    Raises:
        ValueError: without highway-env, for an id that is none of its environments, or steps, dt
            and now that do not fit.

    Source:
        Leurent 2018, An environment for autonomous driving decision-making,
        https://github.com/Farama-Foundation/HighwayEnv
    Differs:
        The car of the environment drives by the model of the others (IDM, MOBIL). No new cars come
        while it runs.
    """
    clock = Clock(steps, dt, now)
    with _untuned():
        road = _reset(env_id, seed)
        positions, headings, valid = _driven(road, clock)
    far = np.linalg.norm(positions[:, now] - positions[0, now], axis=-1)
    kept = valid.any(-1) & (far <= reach)
    seen = positions[kept][valid[kept]]
    return Scene(
        name=f"{env_id}-{seed}",
        ids=tuple(str(i) for i in range(kept.sum())),
        kinds=("vehicle",) * int(kept.sum()),
        positions=positions[kept],
        headings=headings[kept],
        valid=valid[kept],
        now=now,
        dt=dt,
        road=_road(road.network).near(seen, 60.0),
    )


@contextmanager
def _untuned() -> Iterator[None]:
    """Undo what some environments change for all cars: no scene depends on one before it."""
    try:
        from highway_env.vehicle.behavior import IDMVehicle
    except ImportError:
        raise ValueError(
            "scenes of highway-env need the package highway-env; pip install 'guided[highway]'"
        ) from None
    before = {name: getattr(IDMVehicle, name) for name in TUNED}
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(IDMVehicle, name, value)


def _reset(env_id: str, seed: int) -> Any:
    """Return the road of a fresh environment, with its own car driven as the others are."""
    import gymnasium
    import highway_env
    from highway_env.vehicle.behavior import IDMVehicle

    gymnasium.register_envs(highway_env)
    try:
        env: Any = gymnasium.make(env_id).unwrapped
    except gymnasium.error.Error:
        env = None
    if not hasattr(env, "road"):
        raise ValueError(
            f"highway-env has no environment {env_id!r}; take highway-fast-v0, merge-v0, "
            f"intersection-v0 or roundabout-v0"
        )
    env.reset(seed=seed)
    own = env.vehicle
    others = [v for v in env.road.vehicles if v is not own]
    env.road.vehicles = [IDMVehicle.create_from(own), *others]
    return env.road


def _driven(road: Any, clock: Clock) -> tuple[Points, NDArray[np.float64], NDArray[np.bool_]]:
    """Return positions (A, T, 2), headings and valid (A, T), the environment's car first."""
    cars, recorded = list(road.vehicles), set(clock.recorded.tolist())
    rows = []
    for tick in range(clock.ticks):
        if tick in recorded:
            rows.append([(*v.position, v.heading, v.on_road and not v.crashed) for v in cars])
        road.act()
        road.step(TICK)
    found = np.array(rows, dtype=float).transpose(1, 0, 2)
    return found[..., :2] * np.array([1.0, -1.0]), -found[..., 2], found[..., 3] > 0


def _road(network: Any) -> RoadMap:
    """Return the lanes of a network, cut into pieces."""
    lanes = network.lanes_dict()
    count = {key: max(1, int(np.ceil(lane.length / PIECE))) for key, lane in lanes.items()}
    ends = {
        key: [_point(lane, way, 0.0) for way in (0.0, lane.length)] for key, lane in lanes.items()
    }
    onward = {
        key: [
            other
            for other in lanes
            if other[0] == key[1] and np.linalg.norm(ends[other][0] - ends[key][1]) < JOINED
        ]
        for key in lanes
    }
    return RoadMap(lanes=tuple(_pieces(lanes, count, onward)))


def _pieces(
    lanes: dict[Key, Any], count: dict[Key, int], onward: dict[Key, list[Key]]
) -> Iterator[Lane]:
    for key, lane in lanes.items():
        cuts = np.linspace(0, lane.length, count[key] + 1)
        before = [other for other, after in onward.items() if key in after]
        beside = [(*key[:2], key[2] + turn) for turn in (-1, 1)]
        for i in range(count[key]):
            ways = np.linspace(cuts[i], cuts[i + 1], 1 + int(np.ceil(np.diff(cuts)[0] / SAMPLE)))
            last = i == count[key] - 1
            centre, left, right = (_line(lane, ways, side) for side in (0.0, -0.5, 0.5))
            yield Lane(
                _name(key, i),
                centre,
                left,
                right,
                tuple(_name(k, 0) for k in onward[key]) if last else (_name(key, i + 1),),
                tuple(_name(k, count[k] - 1) for k in before) if i == 0 else (_name(key, i - 1),),
                tuple(_name(k, i) for k in beside if k in lanes and i < count[k]),
            )


def _line(lane: Any, ways: NDArray[np.float64], side: float) -> Points:
    """Return points (n, 2) of a lane, ``side`` widths to its right."""
    return np.array([_point(lane, way, side * lane.width_at(way)) for way in ways])


def _point(lane: Any, way: float, right: float) -> Points:
    return np.asarray(lane.position(way, right), dtype=float) * np.array([1.0, -1.0])


def _name(key: Key, piece: int) -> str:
    return f"{key[0]}-{key[1]}.{key[2]}.{piece}"
