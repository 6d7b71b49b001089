"""What the safe comparison plays: tasks, contestants, and the items of work that they make.

An item is one task and one seed with all contestants that share a training. Items know nothing of
each other, so that they may run in processes of their own.
"""

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from baselines.rl import bc, bc_safe, bcq_lag, cpq
from baselines.rl.contest import Contest, Contestant, played_in, settle
from baselines.rl.registry import Knob
from domains.rl import environments
from domains.rl.acting import Policy
from domains.rl.data.offline import OfflineData
from domains.rl.data.sources import load_data
from domains.rl.episodes import Episodes
from domains.rl.evaluate import Trials
from domains.rl.policy import DiffusionPolicy
from domains.rl.safe.table import require_costs
from domains.rl.safe.train import SafeRun, SafeTraining
from domains.rl.train import PolicyTraining, Progress

BASELINES: dict[str, tuple[str, Callable[..., Generator[Progress, None, Any]]]] = {
    "bc": ("BC (all data)", bc.train),
    "bc_safe": ("BC-Safe", bc_safe.train),
    "cpq": ("CPQ", cpq.train),
    "bcq_lag": ("BCQ-Lag", bcq_lag.train),
}
# What each picks of its candidates; all are the same training.
OURS = {
    "fisor": ("FISOR, safest", None),
    "fisor_best": ("FISOR, best admissible", 0.0),
    "fisor_tuned": ("FISOR, chosen threshold", None),
}
THRESHOLDS = (-math.inf, -0.9, -0.5, 0.0)  # to choose from; the first is the safest
SPARE = 0.5  # share of the limit that the validation episodes of a chosen one may cost


@dataclass(frozen=True)
class Fisor:
    """A training of FISOR, and how its policy picks actions."""

    training: SafeTraining = field(default_factory=SafeTraining)
    """The training."""
    candidates: int = 16
    """Actions drawn."""
    threshold: float | None = None
    """See ``domains.rl.policy.Sampling``."""
    limit: float | None = None
    """Of the cost, which decides a chosen threshold; None where none is chosen."""


@dataclass(frozen=True)
class Task:
    """A data set, and the episodes that are played in its environment.

    Args:
        dataset: a Minari id, or a file.
        folder: of all that is trained and found.
        steps: network calls of an action of the diffusion policy.
        test: the episodes.
        validation: others, that a threshold is chosen on.
    """

    dataset: str
    folder: Path
    steps: int
    test: Trials
    validation: Trials

    def contest(self) -> Contest:
        """Load the data."""
        data = load_data(self.dataset)
        where, _ = played_in(data)
        make = partial(environments.make, where)
        unused = PolicyTraining()  # no method here builds on the guided policy
        return Contest(data, make, unused, self.steps, self.test, self.validation, self.folder)


class Item(NamedTuple):
    """Contestants that share a training, in one task with one seed."""

    task: Task
    who: tuple[Contestant, ...]
    seed: int


def checked(task: Task, limit: float, names: Sequence[str]) -> OfflineData:
    """Return the data of a task that can be learned from and played.

    Raises:
        ValueError: for data without costs, an environment without them, or no safe episodes where
            a method needs some.
    """
    contest = task.contest()
    if contest.data.costs is None:
        raise ValueError(f"{contest.data.name} has no costs; give data that tell them")
    require_costs(contest.make_env)
    if "bc_safe" in names:
        bc_safe.safe_episodes(contest.data, limit)
    return contest.data


def baseline(name: str, config: Any) -> Contestant:
    """Return one of :data:`BASELINES`."""
    title, fit = BASELINES[name]

    def train(
        contest: Contest, config: Any, _: int, folder: Path
    ) -> Generator[Progress, None, Policy]:
        return (yield from fit(contest.data, config, folder))

    return Contestant(name, title, config, train)


def ours(name: str, training: SafeTraining, candidates: int, limit: float) -> Contestant:
    """Return FISOR with one way to pick actions, one of :data:`OURS`.

    The threshold that is chosen is that of the largest return among those whose validation episodes
    cost at most half of the limit: few episodes tell little.
    """
    title, threshold = OURS[name]

    def train(
        contest: Contest, config: Fisor, _: int, folder: Path
    ) -> Generator[Progress, None, Policy]:
        run = SafeRun(contest.data, config.training, folder)
        yield from run.stages()
        return run.policy(contest.steps, config.candidates, threshold=config.threshold)

    tuned = name == "fisor_tuned"
    config = Fisor(training, candidates, threshold, limit if tuned else None)
    sampling: tuple[str, ...] = ("candidates", "limit", "threshold")
    knob = None
    if tuned:
        sampling = sampling[:2]
        knob = Knob("threshold", THRESHOLDS, _with_threshold, partial(_merit, limit=limit))
    return Contestant(name, title, config, train, knob, sampling=sampling, place="fisor")


def _with_threshold(policy: DiffusionPolicy, threshold: float) -> Policy:
    return policy.guided(threshold=None if threshold == -math.inf else threshold)


def _merit(games: Episodes, limit: float) -> float:
    """Return the mean return of episodes that were safe enough; less the cost, far below, else."""
    assert games.costs is not None
    cost = float(games.costs.mean())
    return float(games.returns.mean()) if cost <= SPARE * limit else -1e9 - cost


def items(tasks: Sequence[Task], who: Sequence[Contestant], seeds: Sequence[int]) -> list[Item]:
    """Return all work, what shares a training together."""
    groups: dict[str, tuple[Contestant, ...]] = {}
    for own in who:
        place = own.place or own.name
        groups[place] = (*groups.get(place, ()), own)
    return [Item(task, own, seed) for task in tasks for seed in seeds for own in groups.values()]


def settled(item: Item) -> dict[str, dict[str, Any]]:
    """Return the results of an item by contestant, from its files where they are there."""
    torch.set_num_threads(1)  # the fastest for networks as small as these
    contest = item.task.contest()
    return {own.name: settle(contest, own, item.seed, _idle, _idle) for own in item.who}


def _idle(_: Any) -> None:
    pass
