"""The hand-made controller that recorded the good part of a data set, on the test episodes."""

from typing import Any

import numpy as np

from domains.rl.collect.behaviour import Behaviour
from domains.rl.collect.presets import PRESETS
from domains.rl.collect.sac import Learned
from domains.rl.episodes import Book, Episodes
from domains.rl.evaluate import ENV_SEED, OnStep, Played, Trials
from domains.rl.vector import MakeEnv
from guided.rng import stream_seed


def controller_of(name: str) -> Behaviour | None:
    """Return the best behaviour of the preset that a data set is of; None where there is none."""
    for key, preset in PRESETS.items():
        if name.rpartition("-v")[0] == f"guided/{key.replace('/', '-')}":
            return None if isinstance(preset.best, Learned) else preset.best
    return None


def play(
    make_env: MakeEnv, behaviour: Behaviour, trials: Trials, on_step: OnStep | None = None
) -> Episodes:
    """Play the very episodes that ``evaluate`` plays: the same resets, one after the other.

    A controller plans in the environment's own map, so that it is given the environment and not
    only what a policy would see.

    Args:
        make_env: returns a new environment.
        behaviour: who acts.
        trials: which episodes; ``max_steps`` and ``envs`` do not count.
        on_step: called after every episode.
    """
    book, env = Book(trials.episodes, trials.discount, None), make_env()
    steps = 0
    for episode in range(trials.episodes):
        number, which = trials.first + episode, np.array([episode])
        observation, _ = env.reset(seed=stream_seed(trials.seed, number, ENV_SEED) % 2**31)
        actor = behaviour.start(env, np.random.default_rng(stream_seed(trials.seed, number)))
        book.begin(which, _row(observation))
        over = False
        while not over:
            action = actor.act(observation)
            observation, reward, terminated, truncated, info = env.step(action)
            told = np.array([bool(info["success"])]) if "success" in info else None
            ended = np.array([terminated])
            book.step(which, _row(observation), action[None], np.array([reward]), ended, told)
            over, steps = terminated or truncated, steps + 1
        if on_step is not None:
            on_step(Played(steps, episode + 1, trials.episodes))
    env.close()
    return book.episodes(range(trials.episodes))


def _row(observation: Any) -> Any:
    if isinstance(observation, dict):
        return {key: _row(value) for key, value in observation.items()}
    return np.asarray(observation)[None]
