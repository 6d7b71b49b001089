"""A learned feasible set of the point robot, and the policy in it, against the exact one."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from domains.rl.policy import DiffusionPolicy
from domains.rl.safe.drive import Drives
from domains.rl.safe.judgement import false_safe, infeasible_iou
from domains.rl.safe.point_robot import HALF_WIDTH, draw_starts, margin, observe
from domains.rl.safe.reachable import FeasibleValue
from domains.rl.safe.risk import violation_probability

POINTS = 201  # a side of a slice
SLICES = ((0.5, np.pi / 4), (1.0, np.pi / 2), (1.5, np.pi / 4))  # speed and heading, the paper's


def slice_states(v: float, theta: float, points: int = POINTS) -> np.ndarray:
    """Return the states of a slice, (points, points, 4), indexed [x, y]."""
    axis = np.linspace(-HALF_WIDTH, HALF_WIDTH, points)
    x, y = np.meshgrid(axis, axis, indexing="ij")
    return np.stack([x, y, np.full_like(x, v), np.full_like(x, theta)], -1)


def learned_value(policy: DiffusionPolicy, states: np.ndarray) -> np.ndarray:
    """Return the learned V_h of the point robot's states (..., 4), shape (...).

    Raises:
        ValueError: for a policy that learned none.
    """
    safety = policy.networks.safety
    if safety is None:
        raise ValueError("this policy has no feasible value; train one with --algo fisor")
    flat = torch.from_numpy(observe(states.reshape(-1, 4)))
    with torch.no_grad():
        value = safety.v_h(policy.networks.normaliser.states(flat)).numpy()
    return np.asarray(value.reshape(states.shape[:-1]))


def compare_sets(predicted: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """Return how an infeasible set compares with the true one, boolean arrays of one shape."""
    wrong = false_safe(~predicted.ravel(), truth.ravel())
    return {
        "iou": infeasible_iou(predicted, truth),
        "false_safe": None if wrong.of_unsafe is None else wrong.of_unsafe.value,
        "false_alarm": float((predicted & ~truth).sum() / max(1, (~truth).sum())),
    }


def judge_sets(
    policy: DiffusionPolicy, truth: FeasibleValue, discounted: FeasibleValue, seed: int = 0
) -> list[dict[str, Any]]:
    """Return rows: each slice, then random starts; learned set, ceiling and the naive guess.

    The ceiling is the exact value under the critic's last discount. The naive guess calls
    infeasible what is inside a hazard.
    """
    places = {f"v = {v:g}, heading {t / np.pi:g} pi": slice_states(v, t) for v, t in SLICES}
    places["random starts"] = draw_starts(np.random.default_rng(seed), 20_000)
    rows = []
    for name, states in places.items():
        flat = states.reshape(-1, 4)
        unsafe = truth.value(flat) > 0
        guesses = {
            "learned": learned_value(policy, flat) > 0,
            "ceiling": discounted.value(flat) > 0,
            "naive": margin(flat) > 0,
        }
        own = {kind: compare_sets(guess, unsafe) for kind, guess in guesses.items()}
        rows.append({"where": name, "infeasible": float(unsafe.mean()), **own})
    return rows


def judge_drives(feasible: Drives, infeasible: Drives, truth: FeasibleValue) -> dict[str, Any]:
    """Return what became of feasible starts, and of infeasible ones against the least possible."""
    hurt = feasible.worst > 0
    least = truth.value(infeasible.states[0])
    excess = infeasible.worst - least
    span = float(least.max() - least.min())
    return {
        "feasible": {
            "starts": len(hurt),
            "violations": int(hurt.sum()),
            "probability": asdict(violation_probability(hurt)),
            "worst_margin": float(feasible.worst.max()),
            "arrived": float(feasible.arrived.mean()),
        },
        "infeasible": {
            "starts": len(excess),
            "range_of_exact": span,
            "mean_excess": float(excess.mean() / span),
            "q95_excess": float(np.quantile(excess, 0.95) / span),
            "worst_excess": float(excess.max() / span),
            "arrived": float(infeasible.arrived.mean()),
        },
    }


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows of :func:`judge_sets` as lines of text."""
    head = f"{'infeasible set':>24s} {'IoU':>6s} {'false safe':>11s} {'ceiling':>8s}"
    lines = [f"{head} {'naive':>6s}"]
    for row in rows:
        own = row["learned"]
        lines.append(
            f"{row['where']:>24s} {own['iou']:6.3f} {own['false_safe']:11.3%} "
            f"{row['ceiling']['iou']:8.3f} {row['naive']['iou']:6.3f}"
        )
    return "\n".join(lines)


def summary(outcome: Mapping[str, Any]) -> list[str]:
    """Return the figures of :func:`judge_drives` as lines of text."""
    safe, lost = outcome["feasible"], outcome["infeasible"]
    odds = safe["probability"]
    return [
        f"{safe['starts']} feasible starts: {safe['violations']} violate (probability at most "
        f"{odds['high']:.3f} at 95 %), {safe['arrived']:.0%} arrive",
        f"{lost['starts']} infeasible starts: worst margin beyond the least possible by "
        f"{lost['mean_excess']:.1%} of its range of {lost['range_of_exact']:.2f} m in the mean, by "
        f"at most {lost['q95_excess']:.1%} in 95 % of them and by {lost['worst_excess']:.1%} in "
        f"the worst; {lost['arrived']:.0%} arrive",
    ]
