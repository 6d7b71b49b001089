"""One episode of a behaviour, as Minari's buffer and in figures."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from domains.rl.collect.behaviour import Behaviour

# What is kept of the infos, where an environment for safe control tells it.
SIGNALS = ("cost", "margin")


@dataclass(frozen=True)
class Episode:
    """What one recorded episode was: its quality's name, steps, return, success and cost.

    Args:
        quality: name of the behaviour in the mixture.
        steps: transitions.
        total: undiscounted return.
        success: what the environment says at the end; None where it does not say.
        cost: sum of the costs of all steps; None where the environment tells none.
    """

    quality: str
    steps: int
    total: float
    success: bool | None
    cost: float | None = None


def play(
    env: Any, quality: str, behaviour: Behaviour, seed: int, rng: np.random.Generator
) -> tuple[Episode, Any]:
    """Play one episode.

    The buffer's infos hold ``cost``, (T + 1,), and ``margin``, (T + 1,), where the environment's
    infos do: of the reset, then of every step. A reset that tells no cost has the cost 0; where it
    tells no margin there are no margins, for the one of the first state is unknown.

    Args:
        env: a Gymnasium environment.
        quality: name of the behaviour in the mixture.
        behaviour: what acts.
        seed: of the reset.
        rng: of the behaviour.

    Returns:
        The figures, and a Minari ``EpisodeBuffer``.

    Raises:
        ValueError: for a cost or margin that is no number, or that only some steps tell.
    """
    from minari.data_collector.episode_buffer import EpisodeBuffer

    observation, info = env.reset(seed=seed)
    actor = behaviour.start(env, rng)
    observations, actions, rewards = [observation], [], []
    ends: list[list[bool]] = []
    signals = [_signals(info)]
    while not ends or not any(ends[-1]):
        actions.append(actor.act(observation))
        observation, reward, *end, info = env.step(actions[-1])
        observations.append(observation)
        rewards.append(float(reward))
        ends.append(end)
        signals.append(_signals(info))
    terminated, truncated = np.array(ends, dtype=bool).T
    infos = _infos(signals)
    # A goal reached in the very last step is an end, and not a cut.
    buffer = EpisodeBuffer(
        seed=seed,
        observations=_stack(observations),
        actions=np.stack(actions),
        rewards=rewards,
        terminations=list(terminated),
        truncations=list(truncated & ~terminated),
        infos=infos or None,
    )
    success = info.get("success")
    known = None if success is None else bool(success)
    cost = float(infos["cost"][1:].sum()) if "cost" in infos else None
    return Episode(quality, len(rewards), sum(rewards), known, cost), buffer


def _signals(info: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers at once: an environment may fill the same info again in the next step."""
    found = {}
    for name in SIGNALS:
        if name in info:
            try:
                found[name] = float(info[name])
            except (TypeError, ValueError):
                raise ValueError(
                    f"the environment's info has the {name} {info[name]!r}, expected a number; "
                    f"correct the environment"
                ) from None
    return found


def _infos(signals: list[dict[str, float]]) -> dict[str, np.ndarray]:
    """Return the signals of the reset and T steps as arrays (T + 1,)."""
    start, *steps = signals
    found = {}
    for name in SIGNALS:
        count = sum(name in step for step in steps)
        if 0 < count < len(steps):
            raise ValueError(
                f"the environment tells a {name} in {count} of {len(steps)} steps, expected all or "
                f"none; correct the environment"
            )
        if count and (name in start or name == "cost"):
            found[name] = np.array([start.get(name, 0.0), *(step[name] for step in steps)])
    return found


def _stack(observations: list[Any]) -> Any:
    if isinstance(observations[0], dict):
        return {key: _stack([o[key] for o in observations]) for key in observations[0]}
    return np.stack(observations)
