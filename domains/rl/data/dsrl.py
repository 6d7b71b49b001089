"""DSRL's tasks: horizons, and the least and largest returns and costs that its scores divide by.

Its files are D4RL's with ``costs``, and :func:`domains.rl.data.d4rl.load_hdf5` reads both.

Source: Liu, Guo, Lin, Yao, Zhu, Cen, Hu, Yu, Zhang, Tan, Zhao (2023), Datasets and Benchmarks for
Offline Safe Reinforcement Learning, https://arxiv.org/abs/2306.09303; the numbers are those of
``dsrl/infos.py`` in https://github.com/liuzuxin/DSRL (its data: CC BY 4.0).
"""

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Task:
    """What DSRL tells of a task.

    Args:
        name: of its data set, such as ``SafetyBallRun-v0``.
        horizon: steps after which an episode is cut.
        min_return: least return of the data set's episodes, 0 in the score.
        max_return: largest return, 1 in the score.
        min_cost: least sum of an episode's costs.
        max_cost: largest sum.
    """

    name: str
    horizon: int
    min_return: float
    max_return: float
    min_cost: float
    max_cost: float

    @property
    def reference(self) -> tuple[float, float]:
        """The returns that count as 0 and 1, as :func:`domains.rl.data.scores.normalised_score`."""
        return self.min_return, self.max_return


def task(name: str) -> Task | None:
    """Return what DSRL tells of a task, or None for another name.

    Args:
        name: of a file without its ending, ``SafetyBallRun-v0-80-940`` (the largest cost and the
            number of episodes come behind the version), or without these; case does not matter.
    """
    return _tasks().get(re.sub(r"-\d+-\d+$", "", name).lower())


@cache
def _tasks() -> dict[str, Task]:
    found = json.loads(Path(__file__).with_name("dsrl.json").read_text())
    columns = found["columns"]
    return {
        name.lower(): Task(name, **dict(zip(columns, row, strict=True)))
        for name, row in found["tasks"].items()
    }
