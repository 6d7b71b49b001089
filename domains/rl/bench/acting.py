"""What a guided action costs, beside working everything out in every step."""

from functools import partial
from typing import Any, get_args

import numpy as np

from domains.rl.bench.naive import PlainPolicy, Saving
from domains.rl.bench.problem import STATES
from domains.rl.policy import DiffusionPolicy
from guided.bench.turns import turns

LEAST = {1: 3.0, 10: 2.0}  # by batch, how many times faster than the plain way it should be
PLAIN, ALL, OURS = "plain", "all four", "DiffusionPolicy.act"


def acting(policy: DiffusionPolicy, batch: int, rounds: int, seed: int) -> dict[str, Any]:
    """Time actions for a batch of observations: plain, with one saving, with all, and ours.

    Args:
        policy: guided by an energy.
        batch: observations an action is asked for at once.
        rounds: repetitions.
        seed: of the observations and the noise.
    """
    obs = np.random.default_rng(seed).normal(size=(batch, STATES)).astype(np.float32)
    savings: tuple[Saving, ...] = get_args(Saving)
    chosen = {PLAIN: (), **{f"plain, saving on {s}": (s,) for s in savings}, ALL: savings}
    runs: dict[str, Any] = {
        name: partial(PlainPolicy(policy, own).act, obs, seed) for name, own in chosen.items()
    }
    runs[OURS] = partial(policy.act, obs, seed=seed)
    return {
        "what": f"a guided action, batch {batch}",
        "rows": turns(runs, rounds),
        "targets": [{"run": OURS, "least": LEAST[batch]}] if batch in LEAST else [],
    }
