"""Play episodes of an environment, many side by side, so that each is as if it were played alone.

Episode i of a seed has its own environment seed and its own stream of action noise: its result does
not depend on how many environments run beside it, nor on how many episodes are asked for (but for
the last bits, where a network's batch size changes its rounding). Variants of a policy play the
very same episodes, which makes their results pairs.

Undiscounted returns are sums in double precision. An episode ends when the environment terminates
or truncates it, or after ``max_steps``.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from domains.rl.acting import Observation, Policy, VariantPolicy, checked, select
from domains.rl.costs import told
from domains.rl.episodes import Book, Episodes, Keep
from domains.rl.vector import MakeEnv, SideBySide, opened
from guided.rng import Rng, stream_seed

MOST_ENVS = 64  # side by side unless told: MuJoCo takes long to make one
ENV_SEED = 1  # tells an environment's seed from the seed of its action noise


@dataclass(frozen=True)
class Trials:
    """Which episodes are played, and how.

    Args:
        episodes: how many.
        seed: of all of them together.
        first: number of the first; episode i of a seed is the same in every selection.
        deterministic: ask the policy for actions without noise.
        envs: environments side by side, None: one an episode, but at most 64. Episode i is played
            by environment i mod envs. A ``SideBySide`` that is given has its own number.
        max_steps: end an episode here; None leaves it to the environment's time limit.
        discount: factor per step of the discounted return, in (0, 1].
        processes: give every environment its own process, for those that are slow to step.
            A ``SideBySide`` that is given is as it is.

    Raises:
        ValueError: for numbers outside these ranges.
    """

    episodes: int = 100
    seed: int = 0
    first: int = 0
    deterministic: bool = False
    envs: int | None = None
    max_steps: int | None = None
    discount: float = 1.0
    processes: bool = False

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("episodes", "envs", "max_steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"Trials got {name} = {value}; give at least 1")
        if min(self.seed, self.first) < 0:
            raise ValueError(
                f"Trials got seed = {self.seed} and first = {self.first}; give none below 0"
            )
        if not 0 < self.discount <= 1:
            raise ValueError(f"Trials got discount = {self.discount}; give one in (0, 1]")


class Played(NamedTuple):
    """How far a run is: steps of all environments together, and episodes."""

    steps: int
    finished: int
    episodes: int


OnStep = Callable[[Played], object]


def evaluate(
    make_env: MakeEnv | SideBySide,
    policy: Policy,
    trials: Trials,
    *,
    keep: Keep | None = None,
    on_step: OnStep | None = None,
) -> Episodes:
    """Play episodes with one policy.

    Args:
        make_env: returns a new environment; or environments made before, which stay open.
        policy: only the rows of unfinished episodes are sent to it, one noise stream a row.
        trials: which episodes, and how.
        keep: turns observations of N rows into the states of the traces, (N, ...); None keeps no
            traces.
        on_step: called after every step.

    Raises:
        TypeError: for an environment whose actions are no real numbers.
        ValueError: for an environment without a time limit where ``max_steps`` is None, or actions
            of another shape or not finite.
    """

    def act(obs: Observation, variant: np.ndarray, rng: Rng) -> np.ndarray:
        return policy.act(obs, deterministic=trials.deterministic, rng=rng)

    return _play(make_env, act, 1, trials, keep, on_step)[0]


def sweep(
    make_env: MakeEnv | SideBySide,
    policy: VariantPolicy,
    trials: Trials,
    *,
    keep: Keep | None = None,
    on_step: OnStep | None = None,
) -> dict[Any, Episodes]:
    """Play the same episodes with every variant of a policy, all in one batch.

    Episode i has the same environment seed and the same action noise in every variant: compare
    variants by their differences per episode (``statistics.difference``).

    Args:
        make_env: as for ``evaluate``.
        policy: ``Varied`` for one policy with a keyword that differs, ``Together`` for several.
        trials: as for ``evaluate``; every variant plays all of the episodes.
        keep: as for ``evaluate``.
        on_step: as for ``evaluate``.

    Returns:
        What ``evaluate`` would return for each variant, by label.

    Raises:
        TypeError: as ``evaluate``.
        ValueError: as ``evaluate``.
    """

    def act(obs: Observation, variant: np.ndarray, rng: Rng) -> np.ndarray:
        return policy.act(obs, variant=variant, deterministic=trials.deterministic, rng=rng)

    labels: list[Hashable] = list(policy.labels)
    played = _play(make_env, act, len(labels), trials, keep, on_step)
    return dict(zip(labels, played, strict=True))


Act = Callable[[Observation, np.ndarray, Rng], np.ndarray]


def _play(
    make_env: MakeEnv | SideBySide,
    act: Act,
    variants: int,
    trials: Trials,
    keep: Keep | None,
    on_step: OnStep | None,
) -> list[Episodes]:
    """Play games: number g is episode g // variants in the variant g % variants."""
    games = variants * trials.episodes
    number = trials.first + np.arange(games) // variants
    seeds = [stream_seed(trials.seed, int(i), ENV_SEED) % 2**31 for i in number]
    rng = Rng([stream_seed(trials.seed, int(i)) for i in number])
    book = Book(games, trials.discount, keep)
    count = min(trials.envs or MOST_ENVS, games)
    with opened(make_env, count, trials.processes) as envs:
        vector, most = envs.vector, _step_limit(envs, trials)
        actions = np.zeros(vector.action_space.shape, vector.action_space.dtype)
        over, steps, finished = np.ones(envs.count, dtype=bool), 0, 0
        at = np.arange(envs.count)  # the game of every environment; it rests when none is left
        while True:
            if over.any():
                # Without a seed, an environment is put to rest.
                chosen = [seeds[g] if g < games else None for g in at]
                obs, info = vector.reset(seed=chosen, options={"reset_mask": over})
                begun = np.flatnonzero(over & (at < games))
                book.begin(at[begun], select(obs, begun), told(info, begun))
            if not len(rows := np.flatnonzero(at < games)):
                break
            playing = at[rows]
            acted = act(select(obs, rows), playing % variants, rng.take(playing))
            actions[rows] = checked(acted, (len(rows), *actions.shape[1:]))
            obs, rewards, terminated, truncated, info = vector.step(actions)
            success = info["success"][rows] if "success" in info else None
            book.step(
                playing, select(obs, rows), actions[rows], rewards[rows], terminated[rows], success,
                told(info, rows),
            )  # fmt: skip
            over = terminated | truncated
            over[rows] |= book.lengths[playing] >= most
            at = at + envs.count * over
            steps, finished = steps + len(rows), finished + int(over.sum())
            if on_step is not None:
                on_step(Played(steps, finished, games))
    return [book.episodes(range(v, games, variants)) for v in range(variants)]


def _step_limit(envs: SideBySide, trials: Trials) -> float:
    if trials.max_steps is None and envs.steps_at_most is None:
        raise ValueError(
            "the environment has no time limit, so that an episode might never end; give max_steps"
        )
    return trials.max_steps or np.inf
