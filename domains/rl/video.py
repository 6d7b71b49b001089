"""Films of episodes: the very episodes that an evaluation played, as GIF or MP4.

GIF needs nothing but imageio; MP4 needs imageio's ffmpeg too.
"""

from dataclasses import replace
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from domains.rl.acting import Policy
from domains.rl.episodes import Episodes
from domains.rl.evaluate import Trials, evaluate
from domains.rl.vector import MakeEnv
from guided.command import one_line
from guided.results import in_one_piece

LEAST_FPS, MOST_GIF_FPS = 1.0, 50.0  # viewers slow faster GIFs down to 10 frames a second
DEFAULT_FPS = 30.0


class Filmed(gymnasium.Wrapper):
    """Renders every so many steps, and the ends of every episode.

    Args:
        env: made with render_mode="rgb_array".
        frames: where to put the pictures, (height, width, 3), uint8.
        every: steps from picture to picture.

    Raises:
        ValueError: if the environment was made to render otherwise or not at all.
    """

    def __init__(self, env: gymnasium.Env, frames: list[np.ndarray], every: int = 1) -> None:
        super().__init__(env)
        if env.render_mode != "rgb_array":
            raise ValueError(
                f"{_name(env)} was made with render_mode={env.render_mode!r}; to film it, make it"
                f" with render_mode='rgb_array'"
            )
        self.frames, self.every, self._steps = frames, every, 0

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        """Start an episode, and take its first picture."""
        found = self.env.reset(**options)
        self._steps = 0
        self._take()
        return found

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step, and take a picture if it is time."""
        found = self.env.step(action)
        self._steps += 1
        if self._steps % self.every == 0 or found[2] or found[3]:
            self._take()
        return found

    def _take(self) -> None:
        try:
            frame = self.env.render()
        except Exception as error:  # graphics libraries raise whatever they like
            raise _no_picture(_name(self.env), error) from error
        self.frames.append(np.array(frame, dtype=np.uint8))


def film(
    make_env: MakeEnv,
    policy: Policy,
    trials: Trials,
    path: str | PathLike[str],
    *,
    every: int = 1,
) -> Episodes:
    """Play episodes one after the other into one film, at the environment's own pace.

    Args:
        make_env: returns a new environment that renders to rgb_array.
        policy: as for ``evaluate``.
        trials: which episodes: those of ``evaluate``, so that ``Trials(1, first=7)`` shows what
            its episode 7 was. ``envs`` and ``processes`` do not matter.
        path: a .gif or .mp4 file.
        every: steps from picture to picture.

    Raises:
        TypeError: as ``evaluate``.
        ValueError: as ``evaluate``; for another kind of file, an environment that cannot render, a
            missing ffmpeg, or numbers out of range.
    """
    if every < 1:
        raise ValueError(f"film got every = {every}; give at least 1")
    target = Path(path)
    frames: list[np.ndarray] = []
    pace: list[float] = []

    def make() -> gymnasium.Env:
        env = _made(make_env)
        pace.append(float(env.metadata.get("render_fps") or DEFAULT_FPS) / every)
        return Filmed(env, frames, every)

    _require_format(target)
    played = evaluate(make, policy, replace(trials, envs=1, processes=False))
    _write(target, frames, max(pace[0], LEAST_FPS))
    return played


def require_filmable(make_env: MakeEnv, path: str | PathLike[str]) -> None:
    """Refuse what :func:`film` would refuse, before long episodes are played.

    Args:
        make_env: as for ``film``; makes an environment, of which one picture is taken.
        path: as for ``film``.

    Raises:
        ValueError: for another kind of file, an environment that cannot render, or a missing
            package.
    """
    _require_format(Path(path))
    env = _made(make_env)
    try:
        Filmed(env, []).reset(seed=0)
    finally:
        env.close()


def _made(make_env: MakeEnv) -> gymnasium.Env:
    try:
        return make_env()
    except (AttributeError, ImportError, OSError, RuntimeError) as error:
        # What MuJoCo raises when it loads a graphics library that is not there.
        raise _no_picture("the environment", error) from error


def _write(path: Path, frames: list[np.ndarray], fps: float) -> None:
    import imageio.v3 as iio

    with in_one_piece(path) as part:
        if path.suffix.lower() == ".gif":
            iio.imwrite(part, np.stack(frames), duration=1000 / min(fps, MOST_GIF_FPS), loop=0)
        else:
            iio.imwrite(part, np.stack(frames), fps=fps, plugin="FFMPEG")


def _require_writer(path: Path, kind: str) -> None:
    if find_spec("imageio") is None:
        raise ValueError(f"cannot write {path} without imageio; pip install 'guided[rl]'")
    if kind == ".mp4" and find_spec("imageio_ffmpeg") is None:
        raise ValueError(
            f"cannot write {path} without ffmpeg; `pip install imageio-ffmpeg`, or give a name"
            f" that ends in .gif"
        )


def _require_format(path: Path) -> None:
    """Refuse before anything is played."""
    kind = path.suffix.lower()
    if kind not in (".gif", ".mp4"):
        raise ValueError(f"cannot film to {path}; give a name that ends in .gif or .mp4")
    if not path.parent.is_dir():
        raise ValueError(f"cannot write {path}: there is no folder {path.parent}; make it first")
    _require_writer(path, kind)


def _no_picture(name: str, error: Exception) -> ValueError:
    return ValueError(
        f"cannot render {name} ({one_line(error)}); without a display try MUJOCO_GL=egl or"
        f" MUJOCO_GL=osmesa, set before starting, and for classic control `pip install pygame`"
    )


def _name(env: gymnasium.Env) -> str:
    return str(env.spec.id) if env.spec is not None else type(env.unwrapped).__name__
