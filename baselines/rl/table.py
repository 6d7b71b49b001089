"""The rows of the comparison: what S seeds of E episodes say of a method, and as Markdown."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from baselines.rl.contest import stacked
from domains.rl.statistics import bootstrap, difference, iqm, mean, success_rate

HEAD = (
    "policy",
    "setting",
    "success",
    "return (IQM)",
    "discounted return",
    "steps to the goal",
    "more than CEP",
    "training (s)",
)


def row(
    title: str, results: list[dict[str, Any]], limit: int, cep: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    """Return the figures of a method.

    Args:
        title: its name.
        results: one of each seed.
        limit: steps after which an episode is cut; what a failure counts as steps to the goal.
        cep: results of CEP for the same seeds, which this method's steps are compared with on the
            same episodes; None = not compared.
    """
    returns, discounted = stacked(results, "returns"), stacked(results, "discounted")
    success, steps = stacked(results, "success"), _to_goal(results, limit)
    assert returns is not None and discounted is not None
    over: Any = "seeds" if len(results) > 1 else "episodes"
    others = None if cep is None else _to_goal(cep, limit)
    more = None if steps is None or others is None else difference(steps, others, over=over)
    cpu = [result["seconds"]["cpu"] for result in results if "seconds" in result]
    return {
        "policy": title,
        "knob": results[0].get("knob"),
        "settings": [result.get("setting") for result in results],
        "success": None if success is None else vars(success_rate(success)),
        "iqm": vars(bootstrap(iqm, returns, over=over)),
        "discounted": vars(bootstrap(mean, discounted, over=over)),
        "steps": None if steps is None else vars(bootstrap(mean, steps, over=over)),
        "more": None if more is None else vars(more),
        "cpu_seconds": float(np.mean(cpu)) if cpu else None,
        "seeds": len(results),
        "episodes": returns.shape[1],
    }


def _to_goal(results: list[dict[str, Any]], limit: int) -> np.ndarray | None:
    """Return the steps to the goal; None where no success ended its episode, so nobody knows."""
    lengths, success = stacked(results, "lengths"), stacked(results, "success")
    if lengths is None or success is None:
        return None
    if success.any() and (lengths[success] == limit).all():
        return None
    return np.where(success, lengths, limit)


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as a table."""
    lines = [list(HEAD), ["---"] * len(HEAD)]
    for own in rows:
        setting = "" if own["knob"] is None else f"{own['knob']} {_each(own['settings'])}"
        cpu = "" if own["cpu_seconds"] is None else f"{own['cpu_seconds']:.0f}"
        spans = [
            _span(own["success"], 3),
            _span(own["iqm"], 3),
            _span(own["discounted"], 3),
            _span(own["steps"], 1),
            _span(own["more"], 1),
        ]
        lines.append([own["policy"], setting, *spans, cpu])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _span(interval: dict[str, float] | None, digits: int) -> str:
    if interval is None:
        return ""
    value, low, high = (f"{interval[key]:.{digits}f}" for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def _each(values: list[float]) -> str:
    return ", ".join(f"{value:g}" for value in (values if len(set(values)) > 1 else values[:1]))
