"""Episodes of a preset, recorded into a local Minari data set.

Minari's DataCollector checks the spaces and walks the nested observation at every step, and opens
the file for every episode: recording a maze takes nearly four times as long as simulating it, and
the walk needs JAX. Here whole episodes are stacked once and handed to Minari as buffers: the same
files, made by the same writer.
"""

import contextlib
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from domains.rl import environments
from domains.rl.collect.behaviour import Behaviour, Uniform
from domains.rl.collect.play import Episode, play
from domains.rl.collect.preset import Preset, Quality
from domains.rl.collect.spread import Spread
from guided.rng import stream_seed

# What a stream of random numbers is for, so that no two are the same.
_EPISODE, _NOISE, _REFERENCE, _SPREAD = 0, 1, 2, 3


@dataclass(frozen=True)
class Size:
    """How much to record: whole episodes until there are so many steps, or so many episodes."""

    steps: int
    episodes: int | None = None

    def __post_init__(self) -> None:
        if self.steps < 1 or (self.episodes is not None and self.episodes < 1):
            raise ValueError(
                f"a data set needs at least one step and one episode, got {self.steps} steps and "
                f"{self.episodes} episodes"
            )

    def reached(self, steps: int, episodes: int) -> bool:
        """Return whether that is enough."""
        return steps >= self.steps if self.episodes is None else episodes >= self.episodes


def record(
    preset: Preset,
    dataset_id: str,
    size: Size,
    seed: int = 0,
    *,
    overwrite: bool = False,
    reference_episodes: int = 100,
    advance: Callable[[Episode], None] = lambda episode: None,
) -> tuple[list[Episode], tuple[float, float]]:
    """Record a data set that plain ``minari.load_dataset`` reads; nothing is left if it fails.

    Episode i is the same for every size: its environment and its behaviour have seeds of their own.

    Args:
        preset: task and mixture.
        dataset_id: Minari's name, such as ``guided/pointmaze-umaze-mixed-v0``.
        size: steps or episodes.
        seed: of everything.
        overwrite: replace a data set of that name, once the new one is complete.
        reference_episodes: episodes of the random and of the best behaviour whose mean returns
            count as 0 and 1 in the normalised score.
        advance: called after each recorded episode, those that the preset's spread drops included.

    Returns:
        The episodes of the data set, and the two reference returns.

    Raises:
        ValueError: for a name that Minari does not take or that exists, packages that are missing,
            a task without continuous actions, or a spread for a task without costs.
    """
    place = require_recordable(dataset_id, overwrite, seed, reference_episodes)
    env = environments.make(preset.environment, **preset.options)
    environments.check_bounded(env.action_space)
    reference = (
        mean_return(env, Uniform(), seed, reference_episodes),
        mean_return(env, preset.best, seed, reference_episodes),
    )
    episodes, buffers = _played(env, preset, size, seed, advance)
    about = _about(preset, size, seed, reference_episodes, reference)
    if preset.spread is not None:
        kept = _kept(preset.spread, episodes, seed)
        about["description"] += (
            f" Of {len(episodes)} recorded episodes {len(kept)} are kept: "
            f"{preset.spread.describe()}."
        )
        episodes, buffers = [episodes[i] for i in kept], [buffers[i] for i in kept]
    with _all_or_nothing(place):
        _write(dataset_id, env, episodes, buffers, about)
    return episodes, reference


def _played(
    env: Any, preset: Preset, size: Size, seed: int, advance: Callable[[Episode], None]
) -> tuple[list[Episode], list[Any]]:
    episodes, buffers = [], []
    for episode, buffer in _episodes(env, preset.qualities, size, seed):
        if preset.spread is not None and episode.cost is None:
            raise ValueError(
                f"the spread over costs needs a task whose info tells its cost, and "
                f"{preset.environment} tells none; leave out the preset's spread"
            )
        episodes.append(episode)
        buffers.append(buffer)
        advance(episode)
    return episodes, buffers


def require_recordable(
    dataset_id: str, overwrite: bool, seed: int, reference_episodes: int
) -> Path:
    """Return the folder that a new data set will have; arguments as for `record`.

    Raises:
        ValueError: if there is one already that must not be replaced, or it cannot be written, for
            numbers out of range, and as `dataset_path`.
    """
    if seed < 0:
        raise ValueError(f"the seed must not be negative, got {seed}")
    if reference_episodes < 1:
        raise ValueError(f"reference returns need an episode at least, got {reference_episodes}")
    place = dataset_path(dataset_id)
    there = next(folder for folder in place.parents if folder.exists())
    try:
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        raise ValueError(
            f"cannot write {place} ({error.strerror}); choose another folder of data sets with "
            f"MINARI_DATASETS_PATH"
        ) from None
    if place.exists() and not overwrite:
        raise ValueError(
            f"the data set {dataset_id} exists; give --overwrite, or another name with --id"
        )
    return place


def _write(
    dataset_id: str,
    env: Any,
    episodes: list[Episode],
    buffers: list[Any],
    about: dict[str, Any],
) -> None:
    import minari

    with warnings.catch_warnings():
        # Minari asks for an address and a link to code; a data set made at home has neither.
        warnings.filterwarnings("ignore", message=r"`(code_permalink|author_email)`")
        data = minari.create_dataset_from_buffers(
            dataset_id,
            buffers,
            env=env,
            eval_env=env.spec,
            author="guided",
            **about,
            data_format="hdf5",
        )
    data.storage.update_episode_metadata([_metadata(e) for e in episodes])


def _kept(spread: Spread, episodes: list[Episode], seed: int) -> list[int]:
    costs = [e.cost for e in episodes if e.cost is not None]
    rng = np.random.default_rng([seed, _SPREAD])
    return spread.keep(costs, [e.total for e in episodes], rng).tolist()


def _about(
    preset: Preset, size: Size, seed: int, references: int, reference: tuple[float, float]
) -> dict[str, Any]:
    about: dict[str, Any] = {
        "algorithm_name": ", ".join(q.name for q in preset.qualities),
        "description": describe(preset, size, seed, references),
        "num_episodes_average_score": references,
    }
    if reference[0] < reference[1]:  # else nothing can be measured between them
        about |= {"ref_min_score": reference[0], "ref_max_score": reference[1]}
    return about


def _metadata(episode: Episode) -> dict[str, Any]:
    said: dict[str, Any] = {"quality": episode.quality, "return": episode.total}
    told = {"success": episode.success, "cost": episode.cost}
    return said | {name: value for name, value in told.items() if value is not None}


def dataset_path(dataset_id: str) -> Path:
    """Return the folder of a local data set, under ``MINARI_DATASETS_PATH`` or ~/.minari/datasets.

    Raises:
        ValueError: without Minari and its HDF5 files, or for a malformed name.
    """
    try:
        import h5py  # noqa: F401  (Minari imports it late, after the recording)
        from minari.dataset.minari_dataset import parse_dataset_id
        from minari.storage import get_dataset_path
    except ImportError as error:
        raise ValueError(
            f"recording needs the package {error.name}; pip install 'guided[rl]'"
        ) from None
    try:
        parse_dataset_id(dataset_id)
    except (ValueError, TypeError):
        raise ValueError(
            f"Minari takes no data set named {dataset_id!r}; choose a name like guided/my-data-v0"
        ) from None
    return Path(get_dataset_path(dataset_id))


def mean_return(env: Any, behaviour: Behaviour, seed: int, episodes: int) -> float:
    """Return a behaviour's mean undiscounted return over episodes that no data set contains."""
    totals = []
    for i in range(episodes):
        reset_seed = stream_seed(seed, _REFERENCE, _EPISODE, i)
        rng = np.random.default_rng([seed, _REFERENCE, _NOISE, i])
        totals.append(play(env, "", behaviour, reset_seed, rng)[0].total)
    return float(np.mean(totals))


def describe(preset: Preset, size: Size, seed: int, reference_episodes: int) -> str:
    """Return all that made a data set: it can be made again from this."""
    total = sum(q.share for q in preset.qualities)
    parts = "; ".join(
        f"{q.name}, {q.share / total:.0%} of the episodes: {q.behaviour.describe()}"
        for q in preset.qualities
    )
    count = f"{size.steps} steps" if size.episodes is None else f"{size.episodes} episodes"
    return (
        f"{preset.environment} with {dict(preset.options)}, whole episodes up to {count}, "
        f"seed {seed}. {parts}. Reference returns, means over {reference_episodes} other episodes: "
        f"0 is {Uniform().describe()}, 1 is {preset.best.describe()}."
    )


def _episodes(
    env: Any, qualities: tuple[Quality, ...], size: Size, seed: int
) -> Iterator[tuple[Episode, Any]]:
    counts = dict.fromkeys((q.name for q in qualities), 0)
    steps = index = 0
    while not size.reached(steps, index):
        # The quality that lags most behind its share: no luck in the shares of a small set.
        quality = min(qualities, key=lambda q: (counts[q.name] + 1) / q.share)
        counts[quality.name] += 1
        rng = np.random.default_rng([seed, _NOISE, index])
        reset_seed = stream_seed(seed, _EPISODE, index)
        episode, buffer = play(env, quality.name, quality.behaviour, reset_seed, rng)
        steps, index = steps + episode.steps, index + 1
        yield episode, buffer


@contextlib.contextmanager
def _all_or_nothing(place: Path) -> Iterator[None]:
    """Keep an old data set aside until the new one is complete; remove what is half-written."""
    old = place.with_name(f".{place.name}.old")
    if place.exists():
        shutil.rmtree(old, ignore_errors=True)
        place.rename(old)
    try:
        yield
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        if old.exists():
            old.rename(place)
        raise
    shutil.rmtree(old, ignore_errors=True)
