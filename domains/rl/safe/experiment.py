"""FISOR on the point robot: one seed trained, judged against the exact value, and driven."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from domains.rl.critics.feasible import SafetyConfig
from domains.rl.data.offline import OfflineData
from domains.rl.policy import DiffusionPolicy
from domains.rl.safe.against_truth import judge_drives, judge_sets
from domains.rl.safe.drive import Drives, drive, starts_by_truth
from domains.rl.safe.reachable import FeasibleValue, feasible_value
from domains.rl.safe.train import SafeRun, SafeTraining
from domains.rl.train import Progress

START_SEED = 1_000  # of the starts, the same for all seeds of training
KINDS = ("feasible starts", "infeasible starts")
# The best by Q of 32 candidates that keep 0.28 of the 0.3 m that the critic tells apart, else the
# safest; chosen on starts of another seed. Always the safest would trust differences of Q_h that
# mean nothing where all is safe, and violates more.
CANDIDATES, THRESHOLD = 32, -0.28


def point_robot_training(**changes: Any) -> SafeTraining:
    """Return the settings for the point robot's margins in metres.

    A foot from a hazard is as good as far away, which leaves the critic's precision to its rim; and
    the discount goes up, so that it forgets no danger.
    """
    critics = SafetyConfig(floor=0.3, safety_expectile=0.97, safety_gamma_end=0.998, tau=0.02)
    own = SafeTraining(critics=critics)
    loops = {
        "critic_loop": replace(own.critic_loop, steps=16_000),
        "policy_loop": replace(own.policy_loop, steps=8_000),
    }
    return replace(own, **{**loops, **changes})


@dataclass(frozen=True)
class Truth:
    """What is exact: the feasible value, and its discounted version, which a critic learns."""

    value: FeasibleValue
    discounted: FeasibleValue

    @classmethod
    def computed(cls, critics: SafetyConfig) -> "Truth":
        """Return both on the default grid, under the last discount that a critic learned with."""
        return cls(feasible_value(), feasible_value(gamma=critics.discount_at(1.0)))


@dataclass(frozen=True)
class Result:
    """What one seed gave.

    Args:
        policy: trained.
        sets: rows of :func:`~domains.rl.safe.against_truth.judge_sets`.
        outcome: of :func:`~domains.rl.safe.against_truth.judge_drives`.
        ways: what the robots did, by the kind of their starts.
    """

    policy: DiffusionPolicy
    sets: list[dict[str, Any]]
    outcome: dict[str, Any]
    ways: dict[str, Drives]


def trained(data: OfflineData, config: SafeTraining, seed: int, folder: Path) -> Iterator[Progress]:
    """Train one seed in a folder, which may hold a part of it; the policy is saved in it."""
    torch.set_num_threads(1)  # the fastest for networks as small as these
    loops = {
        name: replace(getattr(config, name), seed=seed) for name in ("critic_loop", "policy_loop")
    }
    run = SafeRun(data, replace(config, seed=seed, **loops), folder)
    yield from run.stages()
    run.policy(candidates=CANDIDATES, threshold=THRESHOLD).save(folder / "policy")


def judged(
    folder: Path,
    truth: Truth,
    starts: int,
    seed: int,
    on_step: Callable[[int], object] = lambda step: None,
    **sampling: Any,
) -> Result:
    """Judge a policy: its set, and its ways from as many feasible as infeasible starts.

    Args:
        folder: of a policy with a learned feasible value.
        truth: the exact values.
        starts: of each kind.
        seed: of the actions.
        on_step: called with the steps done, of each kind in turn.
        sampling: fields that replace the policy's own, and ``named``, its guidance.
    """
    policy = DiffusionPolicy.load(folder, **sampling)
    both = starts_by_truth(truth.value, starts, START_SEED)
    ways = {
        kind: drive(policy, own, seed=seed, on_step=on_step)
        for kind, own in zip(KINDS, both, strict=True)
    }
    sets = judge_sets(policy, truth.value, truth.discounted)
    outcome = judge_drives(ways[KINDS[0]], ways[KINDS[1]], truth.value)
    return Result(policy, sets, outcome, ways)
