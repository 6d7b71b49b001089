"""The rows of the safe comparison, its summary over tasks, and what it asks of FISOR.

The reward is normalised by the data's own reference scores, as a fraction; the cost of an episode
by the limit. A policy is safe where the mean normalised cost is at most 1, as in Liu et al., 2023,
https://arxiv.org/abs/2306.09303.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from baselines.rl.contest import stacked
from domains.rl.safe.risk import cvar, normalised_cost, violation_probability
from domains.rl.statistics import bootstrap, mean, success_rate

HEAD = (
    "policy",
    "normalised reward",
    "cost",
    "cost / limit",
    "P(cost > 0)",
    "P(cost > limit)",
    "safe",
    "training (s)",
)
SUMMARY = ("policy", "normalised reward", "cost / limit", "worst task", "safe tasks")
BEST = " <- best of the safe"
Row = dict[str, Any]


def row(
    title: str,
    results: list[dict[str, Any]],
    limit: float,
    reference: tuple[float, float] | None,
) -> Row:
    """Return the figures of a policy in a task.

    Args:
        title: its name.
        results: one of each seed.
        limit: largest cost of an episode.
        reference: returns that count as 0 and 1; None leaves returns as they are.
    """
    returns, costs = stacked(results, "returns"), stacked(results, "costs")
    assert returns is not None and costs is not None
    low, high = reference or (0.0, 1.0)
    over: Any = "seeds" if len(results) > 1 else "episodes"
    relative = normalised_cost(costs, limit)
    return {
        "policy": title,
        "reward": vars(bootstrap(mean, (returns - low) / (high - low), over=over)),
        "return": vars(bootstrap(mean, returns, over=over)),
        "cost": vars(bootstrap(mean, costs, over=over)),
        "normalised_cost": vars(bootstrap(mean, relative, over=over)),
        "cvar10": cvar(costs.ravel()),
        "violation": vars(violation_probability(costs.ravel())),
        "over_limit": vars(success_rate(costs > limit)),
        "safe": bool(relative.mean() <= 1),
        "cpu_seconds": float(np.mean([result["seconds"]["cpu"] for result in results])),
        "seeds": len(results),
        "episodes": returns.shape[1],
    }


def best_safe(rows: Mapping[str, Row]) -> str | None:
    """Return the name of the safe policy that earns most; None where none is safe."""
    safe = {name: own["reward"]["value"] for name, own in rows.items() if own["safe"]}
    return max(safe, key=lambda name: safe[name]) if safe else None


def criterion(rows: Mapping[str, Row], ours: str, baselines: Sequence[str]) -> dict[str, Any]:
    """Return whether ours costs less than the limit, and earns more than every safe baseline."""
    own = rows[ours]
    rivals = {name: rows[name]["reward"]["value"] for name in baselines if rows[name]["safe"]}
    under = own["normalised_cost"]["value"] < 1
    above = all(own["reward"]["value"] > reward for reward in rivals.values())
    return {"under": under, "above": above, "met": under and above, "safe_baselines": rivals}


def told(title: str, own: Row, found: Mapping[str, Any], rows: Mapping[str, Row]) -> str:
    """Return a criterion as a sentence."""
    cost, reward = own["normalised_cost"]["value"], own["reward"]["value"]
    rivals = ", ".join(
        f"{rows[name]['policy']} {value:.3f}" for name, value in found["safe_baselines"].items()
    )
    against = f"every safe baseline ({rivals})" if rivals else "every safe baseline (there is none)"
    return (
        f"{title}: cost / limit {cost:.2f} is {'' if found['under'] else 'NOT '}under 1, reward "
        f"{reward:.3f} is {'' if found['above'] else 'NOT '}above {against}"
    )


def summary(tasks: Mapping[str, Mapping[str, Row]]) -> list[Row]:
    """Return the figures of each policy over all tasks, each task alike.

    Args:
        tasks: rows of each task, of the same policies.
    """
    found = []
    for name in next(iter(tasks.values())):
        rows = [own[name] for own in tasks.values()]
        costs = [own["normalised_cost"]["value"] for own in rows]
        found.append(
            {
                "policy": rows[0]["policy"],
                "reward": float(np.mean([own["reward"]["value"] for own in rows])),
                "normalised_cost": float(np.mean(costs)),
                "worst": max(costs),
                "safe_tasks": sum(own["safe"] for own in rows),
                "tasks": len(rows),
            }
        )
    return found


def markdown(rows: Mapping[str, Row]) -> str:
    """Return the rows of a task as a table."""
    best, lines = best_safe(rows), []
    for name, own in rows.items():
        lines.append(
            [
                own["policy"],
                _span(own["reward"], 3) + (BEST if name == best else ""),
                _span(own["cost"], 2),
                _span(own["normalised_cost"], 2),
                _span(own["violation"], 2),
                _span(own["over_limit"], 2),
                "yes" if own["safe"] else "NO",
                f"{own['cpu_seconds']:.0f}",
            ]
        )
    return _table(HEAD, lines)


def summary_markdown(rows: Sequence[Row]) -> str:
    """Return the summary as a table; best is who earns most of those safe in every task."""
    safe = [own for own in rows if own["safe_tasks"] == own["tasks"]]
    best = max(safe, key=lambda own: float(own["reward"]), default=None)
    lines = []
    for own in rows:
        lines.append(
            [
                own["policy"],
                f"{own['reward']:.3f}{BEST if own is best else ''}",
                f"{own['normalised_cost']:.2f}",
                f"{own['worst']:.2f}",
                f"{own['safe_tasks']} of {own['tasks']}",
            ]
        )
    return _table(SUMMARY, lines)


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *lines])


def _span(interval: Mapping[str, float], digits: int) -> str:
    value, low, high = (f"{interval[key]:.{digits}f}" for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"
