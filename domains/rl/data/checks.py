"""What data must be for training to make sense."""

import torch
from torch import Tensor

from domains.rl.data.offline import OfflineData


def require_trainable(data: OfflineData) -> OfflineData:
    """Return the data, if a policy can be trained on them.

    Raises:
        ValueError: for less than two episodes, for numbers that are not finite, or for negative
            costs.
    """
    if not len(data):
        raise ValueError(f"{data.name} is empty: it has no transition; collect some episodes")
    if data.episodes < 2:
        raise ValueError(
            f"{data.name} has 1 episode, training needs 2 or more to compare; collect more"
        )
    state_episode = torch.repeat_interleave(torch.arange(data.episodes), data.lengths + 1)
    step_episode = torch.repeat_interleave(torch.arange(data.episodes), data.lengths)
    for name, values, episode in (
        ("observations", data.states, state_episode),
        ("actions", data.actions, step_episode),
        ("rewards", data.rewards, step_episode),
        ("costs", data.costs, step_episode),
        ("margins", data.margins, state_episode),
    ):
        if values is not None:
            bad = ~values.isfinite().reshape(len(values), -1).all(-1)
            _refuse(data, name, "NaN or infinite", bad, episode)
    if data.costs is not None:
        _refuse(data, "costs", "negative", data.costs < 0, step_episode)
    return data


def _refuse(data: OfflineData, name: str, fault: str, bad: Tensor, episode: Tensor) -> None:
    """Raise if any is bad; ``bad`` and the number of the ``episode`` are of every row."""
    if bad.any():
        raise ValueError(
            f"{data.name} has {name} that are {fault} in {int(bad.sum())} steps, the first in "
            f"episode {int(episode[bad][0])}; remove those episodes"
        )
