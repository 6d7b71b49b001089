"""What FISOR costs here, beside the original's way of doing it in the same framework.

Of ours a step is all of it: batch, loss, backward pass and optimiser, clipping, the averages of the
weights and the check that the loss is finite; of the plain way it is batch, losses, backward passes
and optimisers, and in the interleaved order also the averages.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch

from domains.rl.bench.interleaved import Interleaved
from domains.rl.bench.original import OriginalActing, UnhoistedActing
from domains.rl.bench.separate import SeparateCritics, SeparateOptimisers
from domains.rl.policy import DiffusionPolicy
from domains.rl.safe.train import SafeRun
from guided.bench.turns import turns
from guided.rng import Rng

OURS = "ours"
SEPARATE, FUSED = "four networks, four Adams", "four networks, four fused Adams"
ORIGINAL, UNHOISTED = "the original's network and loop", "ours, nothing hoisted"
INTERLEAVED = "interleaved, four networks"
LEAST_CRITICS, LEAST_ACTING = 2.0, 1.3  # times faster
MOST_MS = 15.0  # for an action

Make = Callable[[], SafeRun]


def critic_update(make: Make, rounds: int) -> dict[str, Any]:
    """Time updates of all critics.

    Args:
        make: makes a training run at its beginning, always the same.
        rounds: repetitions of as many steps as the run's loops report after.
    """
    run, loop = make(), make().config.critic_loop
    loops = {
        SEPARATE: _separate(run, fused=False),
        FUSED: _separate(run, fused=True),
        OURS: run.train_critics(),
    }
    runs = {name: partial(next, steps) for name, steps in loops.items()}
    states = run.scaled.states.shape[1]
    return {
        "what": f"an update of all critics, batch {loop.batch}, {states} + 2 numbers in",
        "rows": turns(runs, rounds, loop.log_every),
        "targets": [{"run": OURS, "least": LEAST_CRITICS}],
    }


def _separate(run: SafeRun, fused: bool) -> Iterator[None]:
    loop, critics = run.config.critic_loop, SeparateCritics(run.critics)
    optimisers = SeparateOptimisers(critics, loop.lr, fused)
    generator = torch.Generator().manual_seed(loop.seed)
    while True:
        for _ in range(loop.log_every):
            i = torch.randint(len(run.data), (loop.batch,), generator=generator)
            batch = run.critic_batch(i, run.config.critics.safety_gamma)
            optimisers.update(run.scaled.actions[i], batch)
        yield


def safe_action(
    policy: DiffusionPolicy, size: str, batch: int, rounds: int, seed: int
) -> dict[str, Any]:
    """Time the safest of N candidates for a batch of observations.

    Args:
        policy: with critics of what is feasible.
        size: of its network, in words.
        batch: observations an action is asked for at once; one alone is judged.
        rounds: repetitions.
        seed: of observations and noise.
    """
    states = len(policy.networks.normaliser.mean)
    obs = np.random.default_rng(seed).normal(size=(batch, states)).astype(np.float32)
    original, unhoisted = OriginalActing(policy), UnhoistedActing(policy)
    runs = {
        ORIGINAL: lambda: original.act(obs, Rng(seed)),
        UNHOISTED: lambda: unhoisted.act(obs, Rng(seed)),
        OURS: lambda: policy.act(obs, seed=seed),
    }
    targets = [{"run": OURS, "least": LEAST_ACTING}, {"run": OURS, "most_ms": MOST_MS}]
    count, calls = policy.sampling.candidates, policy.sampling.steps
    return {
        "what": f"an action of {count} candidates, {calls} calls, batch {batch}, {size}",
        "rows": turns(runs, rounds),
        "targets": targets if batch == 1 else [],
    }


def iteration(make: Make, rounds: int) -> dict[str, Any]:
    """Time iterations of one update of the critics and two of the policy, in both orders.

    Ours first trains the critics and then the policy, so that this is the share of an iteration in
    both; that it weighs all transitions once, in between, is timed by :func:`weighing`.
    """
    run, other = make(), make()
    loop, order = run.config.critic_loop, Interleaved(other)
    none = (run.weigh() == 0).double().mean().item()
    critics, policy = run.train_critics(), run.train_policy()
    steps = iter(range(loop.steps))

    def interleaved() -> None:
        for _ in range(loop.log_every):
            order.iteration(next(steps))

    def decoupled() -> None:
        next(critics)
        next(policy)

    return {
        "what": f"an iteration, 256 rows for critics, 2 x 256 for the policy ({none:.0%} weigh 0)",
        "rows": turns({INTERLEAVED: interleaved, OURS: decoupled}, rounds, loop.log_every),
        "targets": [],
    }


def weighing(make: Make, rounds: int) -> dict[str, Any]:
    """Time the weighing of all transitions, which is done once a training."""
    run = make()
    what = f"weighing {len(run.data)} transitions, once a training"
    return {"what": what, "rows": turns({OURS: run.weigh}, rounds), "targets": []}
