"""Minari data sets, local or remote, flattened once into a file of tensors."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from domains.rl.data.cache import keep, kept
from domains.rl.data.checks import require_trainable
from domains.rl.data.flatten import Shapes, flatten, layout
from domains.rl.data.offline import OfflineData
from domains.rl.data.scores import reference
from domains.rl.data.signals import costs_of, joined, margins_of
from guided.command import one_line
from guided.results import require_writable

SELF_GENERATED = "self-generated"  # by guided-rl collect, which signs as guided
LISTED = 20  # local data sets that a message names


def load(
    dataset: str,
    *,
    download: bool = False,
    cache: Path | None = None,
    keys: Sequence[str] | None = None,
) -> OfflineData:
    """Return a Minari data set as flat tensors.

    An episode that was both terminated and truncated has ended in a terminal; one whose last step
    is neither was cut, which is a timeout. A flag inside an episode ends one there. The environment
    is the one for evaluation, where the data set names one. Bounds of actions that the environment
    leaves infinite are the least and largest logged actions. Infos named ``cost`` and ``margin``
    (or ``h``) are the costs and margins of :class:`domains.rl.data.offline.OfflineData`.

    Args:
        dataset: a Minari id, e.g. ``D4RL/pointmaze/umaze-v2``, with its place in front (as in
            ``hf://farama-minari/D4RL/pointmaze/umaze-v2``) or without.
        download: fetch a data set that is not there.
        cache: folder of the flattened data; None is ``.guided`` in Minari's folder of data sets
            (``MINARI_DATASETS_PATH`` or ``~/.minari/datasets``). A file there is used as long as
            the data set's size and dates stay the same.
        keys: entries of a dict observation; None as :func:`domains.rl.data.flatten.layout` says.

    Raises:
        ValueError: for a data set that is not there, cannot be read, or cannot be trained on:
            actions that are not a Box of one axis, numbers that are not finite, negative costs,
            costs or margins of some episodes only, less than two episodes.
    """
    name = dataset.split("://", 1)[-1].split("/", 1)[-1] if "://" in dataset else dataset
    folder = _local(dataset, name, download)
    stamp = _stamp(folder, keys)
    root = cache or _root() / ".guided"
    path = root / f"{name}.safetensors"
    data = kept(path, stamp)
    if data is None:
        require_writable(path)
        data = require_trainable(_read(name, folder, keys))
        keep(path, data, stamp)
    return data


def _root() -> Path:
    from minari.storage.datasets_root_dir import get_dataset_path

    return Path(get_dataset_path())


def _local(dataset: str, name: str, download: bool) -> Path:
    """Return the folder of a data set, fetched if it must be."""
    root = _root()
    folder = root / name / "data"
    if download and not folder.is_dir():
        import minari

        try:
            minari.download_dataset(dataset)
        except Exception as error:  # Minari, its remote store and the network have many kinds
            raise ValueError(f"cannot download {dataset}: {one_line(error)}") from None
    if not name or not (folder / "metadata.json").is_file():
        found = root.glob("**/data/metadata.json")
        ids = sorted(path.parents[1].relative_to(root).as_posix() for path in found)
        there = ", ".join(ids[:LISTED]) + (", ..." if len(ids) > LISTED else "") or "none"
        raise ValueError(
            f"no Minari data set {dataset!r} in {root} (there: {there}); check the id, record "
            f"it with guided-rl collect, or fetch it with --download (download=True in Python)"
        )
    return folder


def _stamp(folder: Path, keys: Sequence[str] | None) -> dict[str, Any]:
    """Return what changes when a data set does: Minari writes its metadata with every change."""
    files = [folder / "metadata.json", folder / "main_data.hdf5"]
    stats = {path.name: path.stat() for path in files if path.exists()}
    return {
        "keys": keys and list(keys),
        "files": {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()},
    }


def _metadata(folder: Path) -> dict[str, Any]:
    try:
        about = json.loads((folder / "metadata.json").read_text())
        if not isinstance(about, dict):
            raise ValueError("no JSON object")
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{folder / 'metadata.json'} cannot be read ({one_line(error)}); download the data "
            f"again"
        ) from None
    return about


def _read(name: str, folder: Path, keys: Sequence[str] | None) -> OfflineData:
    import minari

    about = _metadata(folder)
    try:
        dataset = minari.load_dataset(name)
    except ImportError as error:  # of a package for one of Minari's file formats
        raise ValueError(f"Minari cannot open {name}: {one_line(error)}") from None
    except Exception as error:  # whatever a damaged or foreign folder makes Minari raise
        raise ValueError(
            f"Minari cannot open {name} in {folder} ({one_line(error)}); download it again"
        ) from None
    low, high = _bounds(name, dataset.action_space)
    size, keys, shapes = layout(dataset.observation_space, keys)
    bar = tqdm(_episodes(dataset, folder), f"reading {name}", len(dataset), unit="episode")
    parts = list(_segments(name, bar, size, keys, shapes))
    if not parts:
        raise ValueError(f"{name} is empty: it has no transition; collect some episodes")
    ends = np.cumsum([len(part.rewards) for part in parts])
    timeouts = np.zeros(ends[-1], dtype=bool)
    ended = np.concatenate([part.terminals for part in parts])
    timeouts[ends - 1] = ~ended[ends - 1]
    moves = np.concatenate([part.actions for part in parts])
    costs = joined(name, "costs", [part.costs for part in parts])
    margins = joined(name, "margins", [part.margins for part in parts])
    return OfflineData(
        states=torch.from_numpy(np.concatenate([part.states for part in parts])),
        actions=torch.from_numpy(moves),
        rewards=torch.from_numpy(np.concatenate([part.rewards for part in parts])),
        terminals=torch.from_numpy(ended),
        timeouts=torch.from_numpy(timeouts),
        starts=torch.from_numpy(np.concatenate([[0], ends])),
        low=torch.from_numpy(np.where(np.isfinite(low), low, moves.min(0))),
        high=torch.from_numpy(np.where(np.isfinite(high), high, moves.max(0))),
        name=name,
        environment=_environment(about),
        keys=keys,
        reference=reference(name, about),
        origin=SELF_GENERATED if "guided" in about.get("author", ()) else None,
        shapes=shapes,
        costs=None if costs is None else torch.from_numpy(costs),
        margins=None if margins is None else torch.from_numpy(margins),
    )


@dataclass(frozen=True, eq=False)
class _Segment:
    """An episode: states and margins (T + 1, ...), and what its T steps gave."""

    states: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    terminals: np.ndarray
    costs: np.ndarray | None
    margins: np.ndarray | None

    def part(self, first: int, stop: int) -> "_Segment":
        steps, states = slice(first, stop), slice(first, stop + 1)
        return _Segment(
            self.states[states],
            self.actions[steps],
            self.rewards[steps],
            self.terminals[steps],
            None if self.costs is None else self.costs[steps],
            None if self.margins is None else self.margins[states],
        )


def _bounds(name: str, space: Any) -> tuple[np.ndarray, np.ndarray]:
    from gymnasium import spaces

    if not isinstance(space, spaces.Box) or len(space.shape) != 1:
        raise ValueError(
            f"{name} has actions from {space}, expected a Box of one axis; diffusion policies are "
            f"for continuous actions"
        )
    return space.low.astype(np.float32), space.high.astype(np.float32)


def _episodes(dataset: Any, folder: Path) -> Iterator[Any]:
    try:
        yield from dataset.iterate_episodes()
    except Exception as error:  # h5py raises OSError, KeyError or RuntimeError for damaged files
        raise ValueError(
            f"the episodes in {folder} cannot be read ({one_line(error)}); download them again"
        ) from None


def _segments(
    name: str, episodes: Iterable[Any], size: int, keys: tuple[str, ...] | None, shapes: Shapes
) -> Iterator[_Segment]:
    for episode in episodes:
        states = flatten(episode.observations, size, keys, shapes)
        actions = np.asarray(episode.actions, dtype=np.float32)
        rewards = np.asarray(episode.rewards, dtype=np.float32)
        terminals = np.asarray(episode.terminations, dtype=bool)
        cut = terminals | np.asarray(episode.truncations, dtype=bool)
        if len(states) != len(rewards) + 1 or len(actions) != len(rewards):
            raise ValueError(
                f"episode {episode.id} of {name} has {len(states)} observations, {len(actions)} "
                f"actions and {len(rewards)} rewards, expected T + 1, T and T; collect it again"
            )
        where, steps = f"episode {episode.id} of {name}", len(rewards)
        costs = costs_of(where, episode.infos, steps)
        margins = margins_of(where, episode.infos, steps)
        whole = _Segment(states, actions, rewards, terminals, costs, margins)
        first = 0
        for stop in [*(np.flatnonzero(cut) + 1).tolist(), len(rewards)]:
            if stop > first:
                yield whole.part(first, stop)
            first = stop


def _environment(about: dict[str, Any]) -> str | None:
    """Return the specification without the entries that this Gymnasium no longer has."""
    from gymnasium.envs.registration import EnvSpec

    text = about.get("eval_env_spec") or about.get("env_spec")
    if text is None:
        return None
    known = {field.name for field in fields(EnvSpec) if field.init}
    return json.dumps({key: value for key, value in json.loads(text).items() if key in known})
