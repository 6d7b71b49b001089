"""How far each agent of each world is from the truth, in metres.

Worlds are (K, N, F, 2): K worlds, N agents, F steps. The truth is (N, F, 2), NaN at steps at which
an agent was not seen; those are left out. Nothing here averages over agents or over worlds.
"""

import numpy as np
from numpy.typing import ArrayLike

from domains.trajectory.metrics.inputs import Array, checked_truth, checked_worlds, seen


def average_errors(worlds: ArrayLike, truth: ArrayLike) -> Array:
    """Return the mean distance over the steps at which an agent was seen (ADE).

    Args:
        worlds: (K, N, F, 2) metres.
        truth: (N, F, 2) metres, NaN where an agent was not seen.

    Returns:
        (K, N), NaN for an agent that was never seen.

    Raises:
        ValueError: for shapes that do not fit, broken numbers, or nobody seen.
    """
    worlds = checked_worlds(worlds)
    truth = checked_truth(truth, worlds)
    valid = seen(truth)
    gaps = np.linalg.norm(worlds - np.where(valid[..., None], truth, 0.0), axis=-1)
    counts = valid.sum(-1)
    sums = np.where(valid, gaps, 0.0).sum(-1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def final_errors(worlds: ArrayLike, truth: ArrayLike) -> Array:
    """Return the distance at the last step at which an agent was seen (FDE).

    Args:
        worlds: (K, N, F, 2) metres.
        truth: (N, F, 2) metres, NaN where an agent was not seen.

    Returns:
        (K, N), NaN for an agent that was never seen.

    Raises:
        ValueError: for shapes that do not fit, broken numbers, or nobody seen.
    """
    worlds = checked_worlds(worlds)
    truth = checked_truth(truth, worlds)
    agents = np.arange(len(truth))
    last = truth.shape[1] - 1 - seen(truth)[:, ::-1].argmax(-1)
    return np.linalg.norm(worlds[:, agents, last] - truth[agents, last], axis=-1)
