"""The results of episodes, and the book they are kept in while many are being played."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from domains.rl.acting import Observation, mapped, select
from domains.rl.costs import CostBook, Told

Keep = Callable[[Observation], np.ndarray]
NOTHING = Told()


@dataclass(frozen=True, eq=False)
class Trace:
    """One episode of T steps.

    Args:
        states: what was kept of the observations, the last one included, (T + 1, ...).
        actions: as the policy gave them, (T, A).
        rewards: (T,).
    """

    states: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray

    def to_go(self, discount: float, last: float | None = None) -> np.ndarray:
        """Return the discounted return from every step on, (T,).

        Args:
            discount: factor per step.
            last: what the last step is worth with all that comes after it, for an episode that was
                cut; None is its reward alone, for one that ended.
        """
        found = self.rewards.astype(np.float64)
        if last is not None:
            found[-1] = last
        for step in reversed(range(len(found) - 1)):
            found[step] += discount * found[step + 1]
        return found


@dataclass(frozen=True, eq=False)
class Episodes:
    """What E episodes gave.

    Args:
        returns: (E,), summed in double precision.
        discounted: (E,).
        lengths: steps, (E,).
        terminated: whether the environment ended it, rather than a limit of time, (E,).
        success: whether the environment's info called any step a success, (E,); None if it never
            told.
        starts: the first observations, E rows.
        traces: the episodes step by step, where they were kept.
        costs: of all steps together, (E,); like the next two None if the environment never told.
        violations: steps with a cost above 0, (E,).
        first_violation: number of the first of those, counted from 0, (E,); -1 = there is none.
        worst_margin: largest margin of the start and of all steps, (E,), NaN for an episode
            without; None if the environment never told.
    """

    returns: np.ndarray
    discounted: np.ndarray
    lengths: np.ndarray
    terminated: np.ndarray
    success: np.ndarray | None
    starts: Observation
    traces: tuple[Trace, ...] | None
    costs: np.ndarray | None = None
    violations: np.ndarray | None = None
    first_violation: np.ndarray | None = None
    worst_margin: np.ndarray | None = None

    def __len__(self) -> int:
        """Return E."""
        return len(self.returns)


class Book:
    """Results of episodes that begin and end at different times.

    Args:
        episodes: how many there will be.
        discount: factor per step of the discounted return.
        keep: turns observations of N rows into the states of traces; None keeps no traces.
    """

    def __init__(self, episodes: int, discount: float, keep: Keep | None) -> None:
        self.discount, self.keep = discount, keep
        self.returns, self.discounted = np.zeros(episodes), np.zeros(episodes)
        self.lengths = np.zeros(episodes, dtype=np.int64)
        self.terminated, self.success = np.zeros((2, episodes), dtype=bool)
        self.tells_success = False
        self.safety = CostBook(episodes)
        self.starts: list[Observation] = [np.empty(0)] * episodes
        self.states: list[list[np.ndarray]] = [[] for _ in range(episodes)]
        self.actions: list[list[np.ndarray]] = [[] for _ in range(episodes)]
        self.rewards: list[list[float]] = [[] for _ in range(episodes)]

    def begin(self, which: np.ndarray, obs: Observation, said: Told = NOTHING) -> None:
        """Note the first observations of some episodes, one row each, and their margins."""
        self.safety.note(which, Told(None, said.margins), self.lengths[which])
        for row, episode in enumerate(which):
            self.starts[episode] = select(obs, np.array([row]))
        if len(which):
            self._keep_states(which, obs)

    def step(
        self,
        which: np.ndarray,
        obs: Observation,
        actions: np.ndarray,
        rewards: np.ndarray,
        terminated: np.ndarray,
        success: np.ndarray | None,
        said: Told = NOTHING,
    ) -> None:
        """Note one step of some episodes, one row each: what was done, and what came of it."""
        self.returns[which] += rewards
        self.discounted[which] += self.discount ** self.lengths[which] * rewards
        self.safety.note(which, said, self.lengths[which])
        self.lengths[which] += 1
        self.terminated[which] = terminated
        if success is not None:
            self.tells_success = True
            self.success[which] |= success
        if self.keep is not None:
            self._keep_states(which, obs)
            for episode, action, reward in zip(which, actions, rewards, strict=True):
                self.actions[episode].append(action.copy())
                self.rewards[episode].append(float(reward))

    def episodes(self, which: Iterable[int]) -> Episodes:
        """Return the results of some episodes."""
        index = np.fromiter(which, dtype=np.int64)
        traces = tuple(
            Trace(np.stack(self.states[i]), np.stack(self.actions[i]), np.array(self.rewards[i]))
            for i in (index if self.keep is not None else ())
        )
        return Episodes(
            self.returns[index],
            self.discounted[index],
            self.lengths[index],
            self.terminated[index],
            self.success[index] if self.tells_success else None,
            mapped(lambda *rows: np.concatenate(rows), *(self.starts[i] for i in index)),
            traces if self.keep is not None else None,
            **self.safety.results(index),
        )

    def _keep_states(self, which: np.ndarray, obs: Observation) -> None:
        if self.keep is not None:
            for episode, state in zip(which, np.array(self.keep(obs)), strict=True):
                self.states[episode].append(state)
