"""Submissions to the multi-agent challenge of Argoverse 2 motion forecasting, as parquet files.

A row is one track in one world: scenario_id, track_id, probability, predicted_trajectory_x and
predicted_trajectory_y, 60 steps of 0.1 s each. The rows of a scenario have the same probabilities
for each of its tracks, and these tell which rows make one world.

Source: the format is ``ChallengeSubmission`` of https://github.com/argoverse/av2-api (MIT).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domains.trajectory.export.checks import DT, STEPS, WORLDS, Row, complaints, scored
from domains.trajectory.forecast import Forecast
from domains.trajectory.parquet import pyarrow, read_table, schema
from domains.trajectory.resampling import resampled
from domains.trajectory.scene import Scene
from guided.results import in_one_piece, require_writable

TIE = 1e-6  # added to probabilities that tie, times the rank
SHOWN = 3  # complaints in an error
COLUMNS = {
    "scenario_id": "string",
    "track_id": "string",
    "probability": "double",
    "predicted_trajectory_x": "numbers",
    "predicted_trajectory_y": "numbers",
}
Worlds = tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]


def write_submission(path: Path, forecasts: Sequence[Forecast], keep: int | None = None) -> None:
    """Write the forecasts of the scored agents, most probable world first.

    Forecasts at other steps are resampled. Probabilities that tie are made to differ by about
    1e-6: the challenge sorts rows by probability, in an order that mixes the worlds of different
    tracks where two are equal.

    Args:
        path: of the parquet file.
        forecasts: one for each scene, of 6 seconds or more; a scene's name is its scenario id.
        keep: so many worlds at most, the most probable, whose probabilities then sum to 1; None
            keeps all, which must be 6 or fewer.

    Raises:
        ValueError: for too many worlds, a forecast that is too short, or one of which
            :func:`check_submission` would complain; nothing is written then.
    """
    if keep is not None and not 1 <= keep <= WORLDS:
        raise ValueError(f"keep is 1 to {WORLDS} worlds, got {keep}")
    rows = [row for forecast in forecasts for row in _rows(forecast, keep)]
    found = complaints(rows, [forecast.scene for forecast in forecasts])
    if found:
        more = f" (and {len(found) - SHOWN} more)" if len(found) > SHOWN else ""
        raise ValueError(
            f"the submission would be refused: {'; '.join(found[:SHOWN])}{more}; "
            f"nothing is written, mend the forecasts"
        )
    _write(Path(path), rows)


def read_submission(path: Path) -> dict[str, Worlds]:
    """Return probabilities (K,), falling, and worlds (K, 60, 2) by track, for each scenario.

    Raises:
        ValueError: for a file that is missing, damaged, or of another schema, and for tracks of a
            scenario whose worlds do not match.
    """
    found: dict[str, dict[str, list[Row]]] = {}
    for row in _read(Path(path)):
        found.setdefault(row.scenario, {}).setdefault(row.track, []).append(row)
    return {scenario: _worlds(path, scenario, tracks) for scenario, tracks in found.items()}


def check_submission(path: Path, scenes: Sequence[Scene]) -> list[str]:
    """Return what is wrong with a submission for these scenes, one sentence each; none is good.

    It is wrong if a scene or a scored agent is missing, or one is there that no scene has; if a
    path has not 60 finite points; if a track has more than 6 worlds, or other ones than the other
    tracks of its scenario; or if probabilities leave [0, 1], do not sum to 1, or tie.
    """
    try:
        rows = list(_read(Path(path)))
    except ValueError as error:
        return [str(error)]
    return complaints(rows, scenes)


def _rows(forecast: Forecast, keep: int | None) -> Iterator[Row]:
    scene, count = forecast.scene, len(forecast.probabilities)
    if keep is None and count > WORLDS:
        raise ValueError(
            f"{scene.name} has {count} worlds and a submission at most {WORLDS}; "
            f"choose some, or pass keep={WORLDS} for the most probable"
        )
    wanted = [id for a, id in enumerate(scene.ids) if scored(scene)[a]]
    order = np.argsort(-forecast.probabilities, kind="stable")[:keep]
    probabilities = _without_ties(forecast.probabilities[order])
    worlds = resampled(forecast, DT, STEPS).worlds[order]
    for at, agent in enumerate(forecast.agents):
        if scene.ids[agent] in wanted:
            for probability, path in zip(probabilities, worlds[:, at], strict=True):
                yield Row(scene.name, scene.ids[agent], float(probability), *path.T)


def _without_ties(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return falling probabilities with the sum 1 of which no two are equal."""
    if len(np.unique(probabilities)) < len(probabilities):
        probabilities = probabilities + TIE * np.arange(len(probabilities))[::-1]
    return probabilities / probabilities.sum()


def _write(path: Path, rows: Sequence[Row]) -> None:
    pa = pyarrow()
    columns: list[Any] = [list(column) for column in zip(*rows, strict=True)]
    offsets = STEPS * np.arange(len(rows) + 1, dtype=np.int32)
    for axis in (3, 4):
        columns[axis] = pa.ListArray.from_arrays(offsets, np.concatenate(columns[axis]))
    require_writable(path)
    with in_one_piece(path) as part:
        pa.parquet.write_table(pa.table(columns, schema=schema(COLUMNS)), part)


def _read(path: Path) -> Iterator[Row]:
    table = read_table(path, COLUMNS).combine_chunks()
    scalars = (table[name].to_numpy() for name in list(COLUMNS)[:3])
    paths = (_lists(table[name]) for name in list(COLUMNS)[3:])
    for scenario, track, probability, xs, ys in zip(*scalars, *paths, strict=True):
        yield Row(str(scenario), str(track), float(probability), xs, ys)


def _lists(column: Any) -> list[NDArray[np.float64]]:
    if not len(column):
        return []
    array = column.combine_chunks()
    ends = np.cumsum(array.value_lengths().to_numpy())
    return np.split(array.flatten().to_numpy(zero_copy_only=False), ends[:-1])


def _worlds(path: Path, scenario: str, tracks: dict[str, list[Row]]) -> Worlds:
    probabilities, found = None, {}
    for track, rows in tracks.items():
        rows = sorted(rows, key=lambda row: -row.probability)
        own = np.array([row.probability for row in rows])
        probabilities = own if probabilities is None else probabilities
        lengths = {len(part) for row in rows for part in (row.xs, row.ys)}
        if lengths != {STEPS} or not np.array_equal(own, probabilities):
            raise ValueError(
                f"{path}: track {track} of {scenario} needs {STEPS} steps in each world and the "
                f"probabilities of the scenario's other tracks; check_submission tells the rest"
            )
        found[track] = np.stack([np.stack([row.xs, row.ys], axis=-1) for row in rows])
    return np.array([]) if probabilities is None else probabilities, found
