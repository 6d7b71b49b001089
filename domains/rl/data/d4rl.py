"""D4RL: its published reference scores, and its HDF5 files, also those of DSRL with costs.

Source: Fu, Kumar, Nachum, Tucker, Levine (2020), D4RL, https://arxiv.org/abs/2004.07219; the scores
are those of ``d4rl/infos.py`` in https://github.com/Farama-Foundation/D4RL.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from domains.rl.data import dsrl
from domains.rl.data.checks import require_trainable
from domains.rl.data.offline import OfflineData
from guided.command import one_line

# Returns of a random and of an expert policy. Minari's ``mujoco`` tasks have them too, though their
# environments (v4, v5) differ in details from those (v2) that these were measured in.
SCORES = {
    "halfcheetah": (-280.18, 12135.0),
    "hopper": (-20.27, 3234.3),
    "walker2d": (1.63, 4592.3),
    "ant": (-325.6, 3879.7),
    "antmaze": (0.0, 1.0),
    "kitchen": (0.0, 4.0),
    "maze2d-umaze": (23.85, 161.86),
    "maze2d-medium": (13.13, 277.39),
    "maze2d-large": (6.7, 273.99),
    "maze2d-umaze-dense": (68.54, 193.66),
    "maze2d-medium-dense": (44.26, 297.46),
    "maze2d-large-dense": (30.57, 303.49),
    "pen": (96.26, 3076.8),
    "door": (-56.5, 2880.6),
    "hammer": (-274.9, 12794.1),
    "relocate": (-6.4, 4233.9),
}

# The names of D4RL (files have _ for some -) and Minari; the group is a key of the scores.
# Minari's pointmaze and antmaze are not here: goal radius and scale of the former differ from
# maze2d's, and the latter goes on paying after its goal, so that its returns are not 0 or 1.
NAMES = [
    r"(halfcheetah|hopper|walker2d|ant)[-_](?:random|medium|expert|(?:medium|full)[-_]replay"
    r"|medium[-_]expert)-v\d+",
    r"mujoco/(halfcheetah|hopper|walker2d|ant)/(?:simple|medium|expert)-v\d+",
    r"(antmaze)-(?:umaze|medium|large)(?:-play|-diverse)?-v\d+",
    r"(maze2d-(?:umaze|medium|large)(?:-dense)?)(?:-sparse)?-v\d+",
    r"(kitchen)-(?:complete|partial|mixed)-v\d+",
    r"d4rl/(kitchen)/(?:complete|partial|mixed)-v\d+",
    r"(pen|door|hammer|relocate)-(?:human|cloned|expert)-v\d+",
    r"d4rl/(pen|door|hammer|relocate)/(?:human|cloned|expert)-v\d+",
]
NEEDED = ("observations", "actions", "rewards", "terminals")
OPTIONAL = ("timeouts", "next_observations", "costs")
JUMP = 1e-4  # relative and absolute: more than rounding, less than a reset


def published(name: str) -> tuple[float, float] | None:
    """Return D4RL's reference (min, max) of a data set, or None.

    Args:
        name: as D4RL has it (``halfcheetah-medium-v2``) or Minari (``mujoco/hopper/medium-v0``,
            ``D4RL/pen/human-v2``).
    """
    for pattern in NAMES:
        if match := re.fullmatch(pattern, name, re.IGNORECASE):
            return SCORES[match[1].lower()]
    return None


def load_hdf5(
    path: Path,
    *,
    name: str | None = None,
    horizon: int | None = None,
    low: np.ndarray | float | None = None,
    high: np.ndarray | float | None = None,
) -> OfflineData:
    """Return the episodes of a D4RL file, or of a DSRL one, which has ``costs``.

    An episode ends at a terminal, at a timeout, where the next observation is not the one that
    follows in the file (if it has ``next_observations``), and with the file. All but the first are
    timeouts. Files older than D4RL's timeouts need one of two hints: ``next_observations``, whose
    jumps show the resets, or the horizon.

    The state after a timeout is the last of ``next_observations``. Without those nobody knows it:
    the last transition is dropped, and the one before is the timeout. The state after a terminal
    has no value to anybody, so that the one before it is repeated where it is unknown.

    Args:
        path: of the file.
        name: of the data set, which decides about the reference scores; None is the file's.
        horizon: steps after which the environment was reset, for a file without timeouts.
        low: least action. None is D4RL's -1, or the least logged one where that is below.
        high: largest action; None is 1, or the largest logged one where that is above.

    Raises:
        ValueError: for a file that is not there, damaged, or not of this form, and for data that
            cannot be trained on.
    """
    arrays = _arrays(Path(path))
    episodes = _episodes(arrays, _ends(Path(path), arrays, horizon))
    tensors: dict[str, Any] = {key: torch.from_numpy(value) for key, value in episodes.items()}
    moves = arrays["actions"]
    least = np.minimum(-1, moves.min(0, initial=-1)) if low is None else low
    most = np.maximum(1, moves.max(0, initial=1)) if high is None else high
    name = name or Path(path).stem
    task = dsrl.task(name)
    result = OfflineData(
        **tensors,
        low=torch.from_numpy(np.broadcast_to(least, moves.shape[1:]).astype(np.float32)),
        high=torch.from_numpy(np.broadcast_to(most, moves.shape[1:]).astype(np.float32)),
        name=name,
        environment=None if task is None else task.name,
        reference=published(name) if task is None else task.reference,
        origin=None if task is None else "DSRL",
    )
    return require_trainable(result)


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a file: observations (N, S), actions (N, A), and others (N,)."""
    import h5py

    if not path.is_file():
        raise ValueError(f"there is no file {path}; check the path")
    try:
        with h5py.File(path, "r") as file:
            missing = [key for key in NEEDED if not isinstance(file.get(key), h5py.Dataset)]
            if missing:
                raise ValueError(
                    f"{path} lacks {', '.join(missing)} (it has {', '.join(file) or 'nothing'}); "
                    f"expected a D4RL or DSRL file with {', '.join(NEEDED)}"
                )
            there = [key for key in (*NEEDED, *OPTIONAL) if key in file]
            arrays = {key: np.asarray(file[key]) for key in there}
    except (OSError, RuntimeError, KeyError) as error:
        raise ValueError(
            f"{path} is truncated or no HDF5 file ({one_line(error)}); download it again"
        ) from None
    count = arrays["rewards"].size
    if not count:
        raise ValueError(f"{path} is empty: it has no transition; download it again")
    for key, values in arrays.items():
        flag = key in ("terminals", "timeouts")
        vector = flag or key in ("rewards", "costs")
        try:
            if values.shape[:1] != (count,):
                raise ValueError
            numbers = values.astype(bool if flag else np.float32)
            arrays[key] = numbers.reshape((count,) if vector else (count, -1))
        except (ValueError, TypeError):
            raise ValueError(
                f"{key} of {path} has the shape {values.shape} and type {values.dtype}, expected "
                f"numbers for {count} steps; download it again"
            ) from None
    return arrays


def _ends(path: Path, arrays: dict[str, np.ndarray], horizon: int | None) -> np.ndarray:
    """Return the last steps of all episodes, ascending."""
    terminals = arrays["terminals"]
    count = len(terminals)
    ends = terminals.copy()
    if "timeouts" in arrays:
        ends |= arrays["timeouts"]
    elif horizon is not None:
        if horizon < 1:
            raise ValueError(f"horizon must be at least 1 step, got {horizon}")
        steps = np.arange(count)
        begun = np.concatenate([[True], terminals[:-1]])
        ends |= (steps - np.maximum.accumulate(np.where(begun, steps, 0))) % horizon == horizon - 1
    elif "next_observations" not in arrays:
        raise ValueError(
            f"{path} has neither timeouts nor next_observations, so that its episodes cannot be "
            f"told apart; give the horizon, the number of steps after which they were cut"
        )
    if "next_observations" in arrays:
        follows = np.isclose(
            arrays["next_observations"][:-1], arrays["observations"][1:], rtol=JUMP, atol=JUMP
        )
        ends[:-1] |= ~follows.all(-1)
    ends[-1] = True
    return np.flatnonzero(ends)


def _episodes(arrays: dict[str, np.ndarray], ends: np.ndarray) -> dict[str, np.ndarray]:
    """Return states with the final ones put in, and the transitions between them."""
    states, terminals = arrays["observations"], arrays["terminals"]
    timeouts = np.zeros(len(terminals), dtype=bool)
    timeouts[ends] = ~terminals[ends]
    used = np.ones(len(terminals), dtype=bool)
    if "next_observations" in arrays:
        states = np.insert(states, ends + 1, arrays["next_observations"][ends], axis=0)
    else:
        cut = timeouts.copy()
        used = ~cut
        # The transition before a cut one is the new timeout, if it is of the same episode.
        timeouts = np.append(cut[1:], False) & used & ~terminals
        # A cut episode of one step has no transition left, so that its state goes too.
        first = np.isin(np.arange(len(cut)), np.append(0, ends[:-1] + 1))
        alone = cut & first
        last = np.flatnonzero(terminals)
        kept = np.insert(~alone, last + 1, True)
        states = np.insert(states, last + 1, states[last], axis=0)[kept]
        ends = np.flatnonzero((terminals | timeouts)[used])
    return {
        "states": states,
        **{key: arrays[key][used] for key in ("actions", "rewards", "costs") if key in arrays},
        "terminals": terminals[used],
        "timeouts": timeouts[used],
        "starts": np.append(0, ends + 1),
    }
