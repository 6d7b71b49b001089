"""What a submission to the challenge of Argoverse 2 must fulfil, told in sentences."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from domains.trajectory.scene import Scene

STEPS = 60
DT = 0.1  # seconds
WORLDS = 6  # at most


class Row(NamedTuple):
    """One track in one world.

    Args:
        scenario: id of the scenario, the name of its scene.
        track: id of the agent.
        probability: of the world.
        xs: (60,), metres, the first a step after now.
        ys: (60,).
    """

    scenario: str
    track: str
    probability: float
    xs: NDArray[np.float64]
    ys: NDArray[np.float64]


def scored(scene: Scene) -> NDArray[np.bool_]:
    """Return whose forecast counts, (A,): the scene's scored agents, or all who are seen now."""
    return scene.present if scene.scored is None else scene.scored


def complaints(rows: Sequence[Row], scenes: Sequence[Scene]) -> list[str]:
    """Return what is wrong with rows for these scenes, one sentence each, without a full stop."""
    tracks: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        tracks.setdefault(row.scenario, {}).setdefault(row.track, []).append(row)
    counts = Counter(scene.name for scene in scenes)
    found = [f"{n} scenes have the name {name}" for name, n in counts.items() if n > 1]
    if not scenes:
        found.append("there is no scene to forecast")
    found += [f"scenario {name} is unknown" for name in tracks if name not in counts]
    for scene in scenes:
        if scene.name in tracks:
            found += _of_scene(scene, tracks[scene.name])
        else:
            found.append(f"scenario {scene.name} is missing")
    return found


def _of_scene(scene: Scene, tracks: dict[str, list[Row]]) -> Iterator[str]:
    where = f"scenario {scene.name}"
    wanted = [id for id, counts in zip(scene.ids, scored(scene), strict=True) if counts]
    yield from (f"{where}: scored track {id} is missing" for id in wanted if id not in tracks)
    yield from (f"{where}: track {id} is unknown" for id in tracks if id not in scene.ids)
    first, *others = tracks
    chances = {
        id: sorted((r.probability for r in rows), reverse=True) for id, rows in tracks.items()
    }
    yield from _of_chances(f"{where}, track {first}", chances[first])
    if others and len(set(chances[first])) < len(chances[first]):
        yield f"{where}: worlds have equal probabilities, by which the challenge tells them apart"
    for other in others:
        if chances[other] != chances[first]:
            yield f"{where}: tracks {first} and {other} have worlds of different probabilities"
    for id, rows in tracks.items():
        yield from (f"{where}, track {id}: {fault}" for row in rows for fault in _of_path(row))


def _of_chances(where: str, chances: list[float]) -> Iterator[str]:
    if len(chances) > WORLDS:
        yield f"{where}: {len(chances)} worlds, at most {WORLDS} are allowed"
    if not all(0 <= chance <= 1 for chance in chances):
        yield f"{where}: probabilities lie in [0, 1], got {chances}"
    if not np.isclose(sum(chances), 1):
        yield f"{where}: probabilities sum to 1, got {sum(chances):.6g}"


def _of_path(row: Row) -> Iterator[str]:
    if len(row.xs) != STEPS or len(row.ys) != STEPS:
        yield f"expected {STEPS} steps, got {len(row.xs)} and {len(row.ys)}"
    elif not (np.isfinite(row.xs).all() and np.isfinite(row.ys).all()):
        yield "a coordinate is no number"
