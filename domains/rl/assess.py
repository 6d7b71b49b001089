"""How good a guided policy is at which scale: paired episodes, rows of a table, a fair choice."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from domains.rl import environments
from domains.rl.acting import Varied
from domains.rl.data.flatten import layout
from domains.rl.data.scores import Reference, normalised_score
from domains.rl.episodes import Episodes, Keep
from domains.rl.evaluate import OnStep, Trials, sweep
from domains.rl.policy import DiffusionPolicy
from domains.rl.statistics import bootstrap, difference, mean, summarise

VALIDATION = 10_000  # added to a seed: the episodes that choose are never those that judge


def maker(policy: DiffusionPolicy, environment: str | None, **options: Any) -> Callable[[], Any]:
    """Return what makes the environment to act in: the given one, else that of the data.

    Raises:
        ValueError: where neither is known.
    """
    which = environment or policy.environment
    if which is None:
        raise ValueError("the data of this policy do not tell their environment; name one")
    return lambda: environments.make(which, **options)


def require_fit(
    make_env: Callable[[], Any],
    states: int,
    actions: int,
    keys: Sequence[str] | None,
    data: str,
) -> None:
    """Refuse an environment whose observations or actions are not those of some data.

    Args:
        make_env: returns a new environment.
        states: numbers in a flat observation of the data.
        actions: numbers in an action of the data.
        keys: entries of the data's dict observations, or None.
        data: their name.

    Raises:
        ValueError: if it does not fit, or has other actions than bounded vectors.
    """
    env = make_env()
    try:
        environments.check_continuous(env.action_space)
        size, _, _ = layout(env.observation_space, keys)
        found = size, env.action_space.shape[0]
    finally:
        env.close()
    if found != (states, actions):
        raise ValueError(
            f"{data} has {states} observed numbers and {actions} actions, the environment has "
            f"{found[0]} and {found[1]}; choose the environment of the data"
        )


def assess(
    make_env: Callable[[], Any],
    policy: DiffusionPolicy,
    scales: Sequence[float],
    trials: Trials,
    *,
    keep: Keep | None = None,
    on_step: OnStep | None = None,
) -> dict[float, Episodes]:
    """Play the same episodes at every scale, in one batch; arguments as in :func:`sweep`."""
    varied = Varied(policy, "scale", scales)
    return sweep(make_env, varied, trials, keep=keep, on_step=on_step)


def choose(results: Mapping[Any, Episodes]) -> Any:
    """Return the label of the largest mean discounted return, the first of equals."""
    return max(results, key=lambda label: results[label].discounted.mean())


def row(episodes: Episodes, reference: Reference | None) -> dict[str, Any]:
    """Return the figures of a table's row, with 95 % intervals over episodes."""
    facts = summarise(episodes.returns, episodes.success, over="episodes").to_json()
    return {
        **facts,
        "steps": asdict(bootstrap(mean, episodes.lengths, over="episodes")),
        "discounted": asdict(bootstrap(mean, episodes.discounted, over="episodes")),
        "score": normalised_score(float(episodes.returns.mean()), reference),
    }


def gains(played: Mapping[Any, Episodes]) -> dict[Any, dict[str, float]]:
    """Return what each label earns more than the first one, in pairs of the same episodes.

    It is the mean difference of the discounted returns, with its 95 % interval over episodes, for
    every label but the first.
    """
    first, *others = played
    base = played[first].discounted
    return {
        label: asdict(difference(played[label].discounted, base, over="episodes"))
        for label in others
    }


def table(rows: Mapping[Any, Mapping[str, Any]], head: str, mark: Any = None) -> str:
    """Return rows as lines of text; ``mark`` is the label of what :func:`choose` chose."""
    lines = [
        f"{head:>10s}  {'return (IQM)':>22s} {'discounted':>10s} {'success':>19s} {'steps':>21s}"
        f"  score"
    ]
    for label, facts in rows.items():
        name = f"{label:g}" if isinstance(label, int | float) else str(label)
        score = "-" if facts["score"] is None else f"{facts['score']:.1f}"
        lines.append(
            f"{name:>10s}  {_interval(facts['iqm'], 2):>22s} {facts['discounted']['value']:>10.4g} "
            f"{_interval(facts['success'], 2):>19s} {_interval(facts['steps'], 0):>21s}  {score}"
            f"{'  <- chosen' if label == mark else ''}"
        )
    if mark is not None:
        lines.append("chosen: the best mean discounted return of the validation episodes")
    return "\n".join(lines)


def calibration(policy: DiffusionPolicy, episodes: Episodes) -> tuple[np.ndarray, np.ndarray]:
    """Return Q of every step that was played, and the discounted return that followed, (n,) each.

    An episode that was cut by a limit of time goes on, as it does for the critic: Q of its last
    step, which therefore tells nothing of that step itself, stands for what would have followed.

    Raises:
        ValueError: for a policy without a critic, or episodes without traces of flat observations.
    """
    critic, normaliser = policy.networks.critic, policy.networks.normaliser
    if critic is None or episodes.traces is None:
        raise ValueError("a calibration needs a critic, and episodes whose states were kept")
    states = np.concatenate([trace.states[:-1] for trace in episodes.traces])
    actions = np.concatenate([trace.actions for trace in episodes.traces])
    s = normaliser.states(torch.from_numpy(states).float())
    a = normaliser.actions(torch.from_numpy(actions).float())
    q = critic.q(s, a).numpy()
    lasts = q[np.cumsum(episodes.lengths) - 1]
    earned = [
        trace.to_go(critic.config.gamma, None if over else last)
        for trace, last, over in zip(episodes.traces, lasts, episodes.terminated, strict=True)
    ]
    return q, np.concatenate(earned)


def _interval(found: Mapping[str, float] | None, digits: int) -> str:
    if found is None:
        return "-"
    return f"{found['value']:.{digits}f} [{found['low']:.{digits}f}, {found['high']:.{digits}f}]"
