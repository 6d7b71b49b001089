"""How safe the episodes of an evaluation were: the figures of each row, and a table of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from domains.rl.episodes import Episodes
from domains.rl.safe.risk import cvar, normalised_cost, time_to_violation, violation_probability
from domains.rl.statistics import bootstrap, mean

WORST = 0.1  # share of the episodes whose mean cost is told beside that of all


def require_limits(limits: Sequence[float]) -> None:
    """Refuse cost limits that cannot be.

    Raises:
        ValueError: for one that is negative or not finite, or there twice.
    """
    if not all(0 <= limit < np.inf for limit in limits) or len(set(limits)) < len(limits):
        raise ValueError(
            f"got the cost limits {list(limits)}; give finite numbers of at least 0, each once"
        )


def require_costs(make_env: Callable[[], Any]) -> None:
    """Refuse an environment that tells no costs, before anything is played.

    Raises:
        ValueError: if the info of a first step has no ``cost``.
    """
    env = make_env()
    try:
        env.reset(seed=0)
        env.action_space.seed(0)
        info = env.step(env.action_space.sample())[-1]
    finally:
        env.close()
    if info.get("cost") is None:
        raise ValueError(
            "cost limits need an environment that tells costs, and the info of this one's steps has"
            " no 'cost'; leave the limits out, or give an environment whose steps tell it"
        )


def safety(episodes: Episodes, limits: Sequence[float] = ()) -> dict[str, Any] | None:
    """Return the figures of safety, as JSON can hold them; None where no costs were told.

    Args:
        episodes: them.
        limits: largest costs of an episode that are allowed; safe is a mean normalised cost up
            to 1.
    """
    if episodes.costs is None:
        return None
    assert episodes.violations is not None and episodes.first_violation is not None
    worst = None
    if episodes.worst_margin is not None and not np.isnan(episodes.worst_margin).all():
        worst = float(np.nanmax(episodes.worst_margin))
    return {
        "cost": asdict(bootstrap(mean, episodes.costs, over="episodes")),
        "violation": asdict(violation_probability(episodes.violations)),
        "cvar10": cvar(episodes.costs, WORST),
        "first_violation": asdict(time_to_violation(episodes.first_violation)),
        "worst_margin": worst,
        "limits": {f"{limit:g}": _against(episodes.costs, limit) for limit in limits},
    }


def _against(costs: np.ndarray, limit: float) -> dict[str, Any]:
    found = bootstrap(mean, normalised_cost(costs, limit), over="episodes")
    return {"limit": limit, "normalised_cost": asdict(found), "safe": found.value <= 1}


def table(rows: Mapping[Any, Mapping[str, Any]], head: str, mark: Any = None) -> str:
    """Return rows of :func:`safety` as lines of text.

    Args:
        rows: figures by label, all with the same limits.
        head: what the labels are.
        mark: label of what was chosen.
    """
    limits = [own["limit"] for own in next(iter(rows.values()))["limits"].values()]
    names = "".join(f" {f'cost / limit {limit:g}':>27s}" for limit in limits)
    lines = [
        f"{head:>10s}  {'cost':>22s} {'P(violation)':>21s} {'CVaR10':>8s} {'first at':>8s}"
        f" {'margin':>8s}{names}"
    ]
    for label, facts in rows.items():
        name = f"{label:g}" if isinstance(label, int | float) else str(label)
        first, margin = facts["first_violation"]["median"], facts["worst_margin"]
        lines.append(
            f"{name:>10s}  {_interval(facts['cost'], 2):>22s}"
            f" {_interval(facts['violation'], 3):>21s} {facts['cvar10']:>8.2f}"
            f" {'never' if first is None else f'{first:g}':>8s}"
            f" {'-' if margin is None else f'{margin:.3f}':>8s}"
            f"{''.join(f' {_verdict(own):>27s}' for own in facts['limits'].values())}"
            f"{'  <- chosen' if label == mark else ''}"
        )
    lines.append(
        "CVaR10: mean cost of the worst tenth of episodes; first at: step of the first violation,"
        " median over all; margin: the largest, above 0 inside a hazard"
    )
    if mark is not None:
        lines.append("chosen: by return alone, whatever it costs")
    if 0 in limits:
        lines.append("limit 0: (cost + 1) / 1 is shown, so that only episodes without cost give 1")
    return "\n".join(lines)


def _verdict(own: Mapping[str, Any]) -> str:
    return f"{_interval(own['normalised_cost'], 2)} {'safe' if own['safe'] else 'UNSAFE'}"


def _interval(found: Mapping[str, float], digits: int) -> str:
    return f"{found['value']:.{digits}f} [{found['low']:.{digits}f}, {found['high']:.{digits}f}]"
