"""Where scenes come from: simulators, or files of any format that can be read."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from domains.trajectory.batch import Window, fits
from domains.trajectory.resampling import stepped
from domains.trajectory.scene import Scene
from domains.trajectory.scene_file import read_scene

BUILT_IN = ("mixed", "highway", "crossing", "plaza")
HIGHWAY_ENV = "highway-env:"  # and the id of an environment


def open_scenes(
    source: str, count: int = 8, seed: int = 0, window: Window | None = None
) -> list[Scene]:
    """Return scenes of a source.

    ===================================  =======================================================
    source                               scenes
    ===================================  =======================================================
    ``mixed``, ``highway``, ...          ``count`` of the built-in generator
    ``highway-env:merge-v0``, ...        ``count`` of an environment of highway-env
    ``x.json``                           one of this project's own files
    ``x.xml``                            one of CommonRoad
    ``x.parquet``, or a folder of them   Argoverse 2 motion forecasting, at most ``count``
    ``x.txt``                            ETH/UCY: every window, or ``count`` evenly chosen ones
    ``folder:fold``                      the test windows of a fold of ETH/UCY, likewise
    ===================================  =======================================================

    Args:
        source: see above.
        count: how many; 0 = all that there are, or 8 where scenes are made.
        seed: of the scenes that are made.
        window: of the model that they are for: sets the length of generated scenes, and the steps
            of recordings whose own do not fit.

    Raises:
        ValueError: for a source that is none of these, or cannot be read, or holds no scene, or a
            negative count.
    """
    if count < 0:
        raise ValueError(f"count is 0 (all) or more scenes, got {count}")
    if is_made(source):
        return list(generated(source, count or 8, seed, window or Window()))
    path, _, fold = source.partition(":")
    if fold:
        from domains.trajectory.readers.eth_ucy import testing_windows

        found = thinned(_some(testing_windows(Path(path), fold), source), count)
    else:
        found = _read(Path(source), count)
    return found if window is None else [_fitted(scene, window) for scene in found]


def _fitted(scene: Scene, window: Window) -> Scene:
    return scene if fits(scene, window) else stepped(scene, window.dt)


def is_made(source: str) -> bool:
    """Return whether scenes of a source are made, as many as one likes, and not read."""
    return source in BUILT_IN or source.startswith(HIGHWAY_ENV)


def generated(source: str, count: int, seed: int, window: Window) -> Iterator[Scene]:
    """Return scenes that are made and fit a window; those of highway-env have seeds in a row.

    Raises:
        ValueError: for a negative seed, and as the generator and the reader of highway-env do.
    """
    from domains.trajectory.generator import scenes
    from domains.trajectory.readers.highway_env import record_highway

    if seed < 0:
        raise ValueError(f"a seed is an integer of 0 or more, got {seed}; take another")
    steps, dt, now = window.history + window.future, window.dt, window.history - 1
    if source in BUILT_IN:
        return scenes(source, count, seed, steps, dt, now)
    env = source.removeprefix(HIGHWAY_ENV)
    return (record_highway(env, seed + i, steps, dt, now) for i in range(count))


def thinned(scenes: list[Scene], count: int) -> list[Scene]:
    """Return ``count`` of many scenes, evenly spread over them; 0 = all."""
    if not 0 < count < len(scenes):
        return scenes
    return [scenes[i] for i in np.linspace(0, len(scenes) - 1, count).round().astype(int)]


def _read(path: Path, count: int) -> list[Scene]:
    if not path.exists():
        raise ValueError(
            f"there is no {path}; give a file or folder of scenes, {HIGHWAY_ENV}ENV_ID, or one of "
            f"{', '.join(BUILT_IN)}"
        )
    if path.is_dir():
        files = sorted(path.rglob("scenario_*.parquet"))
        if not files:
            raise ValueError(f"{path} holds no scenario_*.parquet; give a folder of Argoverse 2")
        return [scene for file in files[: count or None] for scene in _argoverse(file)]
    reader = _readers().get(path.suffix)
    if reader is None:
        raise ValueError(f"cannot tell what {path} is; expected one of {', '.join(_readers())}")
    return thinned(reader(path), count)


def _readers() -> dict[str, Callable[[Path], list[Scene]]]:
    return {".json": _json, ".xml": _commonroad, ".parquet": _argoverse, ".txt": _pedestrians}


def _json(path: Path) -> list[Scene]:
    return [read_scene(path)]


def _commonroad(path: Path) -> list[Scene]:
    from domains.trajectory.readers.commonroad import read_commonroad

    return [read_commonroad(path)]


def _argoverse(path: Path) -> list[Scene]:
    from domains.trajectory.readers.argoverse import read_argoverse

    return [read_argoverse(path)]


def _pedestrians(path: Path) -> list[Scene]:
    from domains.trajectory.readers.eth_ucy import read_text, windows

    return _some(windows(read_text(path)), str(path))


def _some(found: list[Scene], source: str) -> list[Scene]:
    from domains.trajectory.readers.eth_ucy import FUTURE, HISTORY

    if not found:
        raise ValueError(
            f"{source} holds no window of {HISTORY + FUTURE} frames with a person in all of them; "
            f"give a longer recording"
        )
    return found
