"""The figures of all bandits and seeds as rows with means and standard errors, and as text."""

import math
from collections.abc import Iterable, Mapping
from statistics import fmean, stdev
from typing import Any

from domains.rl.bandits.experiment import EXACT, Found
from domains.rl.bandits.sample import METHODS

Row = dict[str, Any]
RIVALS = tuple(name for name in METHODS if name != "cep")


def summary(name: str, found: Mapping[int, Found]) -> list[Row]:
    """Return a row for every beta and method of a bandit.

    Args:
        name: of the bandit.
        found: by seed.

    Returns:
        Rows with ``set``, ``beta``, ``method``, ``distance`` (the mean over seeds), ``error`` (its
        standard error; 0 for one seed), ``each``, and ``modes`` where measured. For the exact draws
        ``distance`` is the root mean square, since their mean is 0: the floor.
    """
    every = [row for one in found.values() for row in one.rows]
    rows = []
    for beta in dict.fromkeys(row["beta"] for row in every):
        for method in (EXACT, *METHODS):
            mine = [row for row in every if row["beta"] == beta and row["method"] == method]
            rows.append({"set": name, "beta": beta, "method": method} | _mean(mine, method))
    return rows


def _mean(rows: list[Row], method: str) -> Row:
    each = [row["distance"] for row in rows]
    mean = math.sqrt(fmean(d * d for d in each)) if method == EXACT else fmean(each)
    spread = all(map(math.isfinite, each)) and len(each) > 1
    row = {"distance": mean, "error": stdev(each) / math.sqrt(len(each)) if spread else 0.0}
    modes = {"modes": fmean(row["modes"] for row in rows)} if "modes" in rows[0] else {}
    return row | modes | {"each": each}


def lines(rows: Iterable[Row]) -> list[str]:
    """Return the table of one bandit: methods across, values of beta down."""
    rows = list(rows)
    columns = {EXACT: "floor", **{m: m for m in METHODS}}
    text = ["beta " + "".join(f"{shown:>17}" for shown in columns.values())]
    for beta in dict.fromkeys(row["beta"] for row in rows):
        mine = {row["method"]: row for row in rows if row["beta"] == beta}
        text.append(f"{beta:<5g}" + "".join(_cell(mine[method]) for method in columns))
        if "modes" in mine[EXACT]:
            shares = "".join(f"{mine[method]['modes']:>17.4f}" for method in columns)
            text.append(" TV  " + shares)
    return text


def _cell(row: Row) -> str:
    error = "" if row["method"] == EXACT else f" ±{row['error']:.4f}"
    shown = f"{row['distance']:.4f}{error}"
    return f"{shown:>17}"


def verdict(rows: Iterable[Row]) -> list[str]:
    """Return, for every rival, in how many cases CEP was nearer to the truth, and how surely.

    Sure is a mean difference over seeds above twice its standard error and above the floor, which
    is what exact draws differ by.
    """
    by: dict[tuple[str, float], dict[str, Row]] = {}
    for row in rows:
        by.setdefault((row["set"], row["beta"]), {})[row["method"]] = row
    text = []
    for rival in RIVALS:
        lost, sure = [], {-1: 0, 0: 0, 1: 0}
        for (name, beta), mine in by.items():
            sure[_surely(mine, rival)] += 1
            if mine["cep"]["distance"] >= mine[rival]["distance"]:
                lost.append(f"{name} at {beta:g}")
        besides = f" (not {', '.join(lost)})" if lost else ""
        text.append(
            f"cep against {rival}: nearer in {len(by) - len(lost)} of {len(by)} cases{besides}; "
            f"beyond noise nearer in {sure[1]}, farther in {sure[-1]}"
        )
    return text


def _surely(rows: Mapping[str, Row], rival: str) -> int:
    """Return 1 where CEP is nearer beyond noise, -1 where it is farther, else 0."""
    gaps = [b - a for a, b in zip(rows["cep"]["each"], rows[rival]["each"], strict=True)]
    gap = fmean(gaps)
    if not math.isfinite(gap):  # one of them diverged
        return 1 if math.isfinite(rows["cep"]["distance"]) else -1
    error = stdev(gaps) / math.sqrt(len(gaps)) if len(gaps) > 1 else 0.0
    if abs(gap) <= max(2 * error, rows[EXACT]["distance"]):
        return 0
    return 1 if gap > 0 else -1
