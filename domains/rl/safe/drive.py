"""Many point robots driven at once, from given starts, as the environment would drive each."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from domains.rl.acting import Policy
from domains.rl.safe.point_robot import (
    GOAL,
    GOAL_RADIUS,
    HALF_WIDTH,
    draw_starts,
    margin,
    observe,
    step_states,
)
from domains.rl.safe.reachable import FeasibleValue
from guided.rng import Rng, stream_seed

LIMIT = 300  # steps, as of the registered environment


@dataclass(frozen=True)
class Drives:
    """What N robots did.

    Args:
        states: (T + 1, N, 4); a robot that arrived or left the box stays in its last state.
        margins: h of all states, (T + 1, N).
        arrived: whether each ended at the goal, (N,).
        steps: that each took, (N,).
    """

    states: np.ndarray
    margins: np.ndarray
    arrived: np.ndarray
    steps: np.ndarray

    @property
    def worst(self) -> np.ndarray:
        """The largest margin of each robot's way, its start included, (N,)."""
        return np.asarray(self.margins.max(0))


def drive(
    policy: Policy,
    starts: np.ndarray,
    *,
    seed: int = 0,
    limit: int = LIMIT,
    on_step: Callable[[int], object] = lambda step: None,
) -> Drives:
    """Drive from starts (N, 4) until the goal, the rim of the box, or the limit of steps.

    Args:
        policy: acts on observations of the robots that are still on their way.
        starts: states.
        seed: of the policy's noise; robot i has a stream of its own.
        limit: most steps.
        on_step: called with the number of steps done.
    """
    rng = Rng([stream_seed(seed, i) for i in range(len(starts))])
    state = np.array(starts, dtype=np.float64)
    states, going = [state.copy()], np.ones(len(state), dtype=bool)
    arrived, steps = np.zeros_like(going), np.zeros(len(state), dtype=int)
    while going.any() and len(states) <= limit:
        rows = np.flatnonzero(going)
        actions = policy.act(observe(state[rows]), rng=rng.take(rows))
        state[rows] = step_states(state[rows], np.asarray(actions))
        steps[rows] += 1
        arrived = np.hypot(*(state[:, :2] - GOAL).T) <= GOAL_RADIUS
        going = going & ~arrived & (np.abs(state[:, :2]) <= HALF_WIDTH).all(1)
        states.append(state.copy())
        on_step(len(states) - 1)
    way = np.stack(states)
    return Drives(way, margin(way), arrived & ~going, steps)


def starts_by_truth(
    truth: FeasibleValue, count: int, seed: int, *, spare: float = 0.02
) -> tuple[np.ndarray, np.ndarray]:
    """Return starts of the environment that are feasible, and such that are not, (count, 4) each.

    Both by the exact value, with a little to spare, as it is computed on a grid.

    Args:
        truth: the exact value.
        count: of each kind.
        seed: of the drawing.
        spare: least |V|, in metres.
    """
    rng = np.random.default_rng(seed)
    feasible, infeasible = np.empty((0, 4)), np.empty((0, 4))
    while len(feasible) < count or len(infeasible) < count:
        drawn = draw_starts(rng, 20 * count)
        value = truth.value(drawn)
        feasible = np.concatenate([feasible, drawn[value <= -spare]])
        infeasible = np.concatenate([infeasible, drawn[value >= spare]])
    return feasible[:count], infeasible[:count]
