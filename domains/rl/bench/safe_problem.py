"""What ``guided-bench safe`` measures on: made-up data with costs, and untrained networks."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from domains.rl.bench.problem import made_up
from domains.rl.data.offline import OfflineData
from domains.rl.model import ModelConfig
from domains.rl.policy import DiffusionPolicy
from domains.rl.safe.train import SafeRun, SafeTraining
from domains.rl.train import loop_of
from guided.rng import Rng

ACTIONS = 2
SHARE = 0.1  # of the transitions have a cost
CANDIDATES, CALLS = 16, 5  # of an action, as the original
# A body of as many multiplications a row as the original's, 3 x 2 x 256 x 1024.
LARGE = ModelConfig(width=512, depth=3)


def risky(episodes: int, length: int, states: int, seed: int) -> OfflineData:
    """Return made-up episodes, of which some transitions have a cost."""
    data = made_up(episodes, length, seed, states, ACTIONS)
    costs = (Rng(seed + 1).uniform((len(data),)) < SHARE).float()
    return replace(data, costs=costs)


def untrained(data: OfflineData, folder: Path, seed: int, log_every: int = 1) -> SafeRun:
    """Return a run at its beginning, whose feasible values are about 0.

    Its loops report every ``log_every`` steps (the policy's, which has two steps for each of the
    critics', twice as seldom), never end by themselves, and save nothing.
    """
    endless: dict[str, Any] = {"save_every": 10**10, "batch": 256, "seed": seed}
    config = SafeTraining(
        critic_loop=loop_of(
            steps=10**9, log_every=log_every, ema=0.999, clip=float("inf"), **endless
        )(),
        policy_loop=loop_of(steps=2 * 10**9, log_every=2 * log_every, **endless)(),
        seed=seed,
    )
    run = SafeRun(data, config, folder)
    own, states = run.critics, run.scaled.states[data.at]
    own.v.get_parameter("layers.1.bias").data[1] -= own.v_h(states).mean().detach()
    risk = own.q_h(states, run.scaled.actions).mean().detach()
    own.slow.get_parameter("layers.1.bias").data[2:] -= risk
    return run


def acting_policy(
    data: OfflineData, folder: Path, seed: int, model: ModelConfig
) -> DiffusionPolicy:
    """Return an untrained policy that picks the safest of its candidates."""
    run = SafeRun(data, SafeTraining(model=model, seed=seed), folder)
    return run.policy(steps=CALLS, candidates=CANDIDATES)
