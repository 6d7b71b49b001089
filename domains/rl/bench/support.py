"""What it costs to draw support actions: once for every state, or for s and s' apart.

Transition i leads from state i to state i + 1 of its episode, so that s' of one is s of the next.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from domains.rl.bench.naive import PlainPolicy
from domains.rl.support import support_actions
from domains.rl.train import Run
from guided.bench.turns import turns
from guided.rng import Rng

GUIDED, PLAIN = "s and s' apart, guided at scale 0", "s and s' apart, plain"
APART, OURS = "s and s' apart, our sampler", "every state once"


def drawing(run: Run, rounds: int, seed: int) -> dict[str, Any]:
    """Time the draws for all transitions of a run's data, and count their rows.

    Args:
        run: whose untrained behaviour draws.
        rounds: repetitions.
        seed: of the draws.
    """
    data, config = run.scaled, run.config
    apart = torch.cat([data.states[data.at], data.states[data.at + 1]])
    policy = run.policy(steps=config.support_steps, scale=0.0)

    def ours(states: Tensor) -> None:
        dim = data.actions.shape[1]
        args = dim, config.support, config.support_steps, seed
        for _ in support_actions(policy.networks.behaviour, states, *args):
            pass

    def plain(guided: bool) -> None:
        # The reference code evaluates the energy and multiplies its gradient by 0.
        repeated = run.data.states[torch.cat([data.at, data.at + 1])]
        rows = repeated.repeat_interleave(config.support, 0)
        PlainPolicy(policy, guided=guided).sample(rows, Rng(seed))

    runs = {
        GUIDED: partial(plain, True),
        PLAIN: partial(plain, False),
        APART: partial(ours, apart),
        OURS: partial(ours, data.states),
    }
    rows = turns(runs, rounds)
    for row in rows:
        row["drawn"] = config.support * len(data.states if row["run"] == OURS else apart)
    return {
        "what": f"support actions of {len(data.actions)} transitions, K = {config.support}",
        "rows": rows,
        "targets": [],
    }
