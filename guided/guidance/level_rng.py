"""Randomness of the denoise level, which is given no rng: a function of the level."""

from torch import Tensor

from guided.rng import Rng, stream_seed
from guided.schedule import Level


def level_rng(seed: int, level: Level, method: str) -> Rng:
    """Return the random stream of a level: the same in every call at it, whatever the batch.

    So a sample does not depend on its batch if all rows share what is drawn, and a sampler that
    calls twice at one level, as Heun's, sees one function.

    Raises:
        ValueError: for a level of tensors, which may hold a level for every row.
    """
    if isinstance(level.t, Tensor):
        raise ValueError(
            f"{method} draws once for a level, so all rows share its time, got a tensor of "
            f"{tuple(level.t.shape)}; take levels from Schedule.levels"
        )
    return Rng(stream_seed(seed, round(level.t * 2**40)))
