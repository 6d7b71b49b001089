"""What data must be for training to make sense."""

import torch

from domains.rl.data.offline import OfflineData


def require_trainable(data: OfflineData) -> OfflineData:
    """Return the data, if a policy can be trained on them.

    Raises:
        ValueError: for less than two episodes, or for numbers that are not finite.
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
        ("rewards", data.rewards[:, None], step_episode),
    ):
        bad = ~values.isfinite().all(-1)
        if bad.any():
            raise ValueError(
                f"{data.name} has {name} that are NaN or infinite in {int(bad.sum())} steps, the "
                f"first in episode {int(episode[bad][0])}; remove those episodes"
            )
    return data
