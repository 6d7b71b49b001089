"""The feasible value: what must hold, all switched controls, random controls, and a reference."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("gymnasium")

from domains.rl.safe import (
    FeasibleValue,
    Grid,
    feasible_value,
    margin,
    speed_levels,
    step_states,
)
from domains.rl.safe.point_robot import DT, HALF_WIDTH

GRID = Grid(points=101, angles=40)
SMALL = Grid(points=31, angles=12, top_speed=0.5)


@pytest.fixture(scope="module")
def feasible() -> FeasibleValue:
    return feasible_value(GRID)


def random_states(n: int, seed: int = 0) -> np.ndarray:
    """States whose speeds are multiples of dt, so that full braking stops exactly at 0."""
    rng = np.random.default_rng(seed)
    states = rng.uniform([-3, -3, 0, -7], [3, 3, 0, 7], (n, 4))
    states[:, 2] = rng.integers(0, 41, n) * DT
    return states


def worst(states: np.ndarray, turns: np.ndarray, accelerations: np.ndarray) -> np.ndarray:
    """The largest margin on the way under controls, (steps, ...), until the box is left."""
    states, inside = states.copy(), True
    largest = margin(states)
    for turn, acceleration in zip(turns, accelerations, strict=True):
        inside = inside & (np.abs(states[..., :2]) <= HALF_WIDTH).all(-1)
        actions = np.stack(np.broadcast_arrays(acceleration, turn), -1)
        states = np.where(inside[..., None], step_states(states, actions), states)
        largest = np.maximum(largest, margin(states))
    return largest


def braking(speeds: np.ndarray, steps: int) -> np.ndarray:
    """Accelerations that stop as soon as possible and then stay, (steps, N)."""
    return -(np.arange(steps)[:, None] < np.rint(speeds / DT)).astype(float)


def iou(ours: np.ndarray, other: np.ndarray) -> float:
    """Overlap of the infeasible sets."""
    return ((ours > 0) & (other > 0)).sum() / ((ours > 0) | (other > 0)).sum()


def test_it_is_never_below_the_margin(feasible: FeasibleValue) -> None:
    states = random_states(5000)
    states[:, 2] += np.random.default_rng(1).uniform(-0.05, 0, len(states))  # between levels too
    assert (feasible.value(states) >= margin(states)).all()


def test_one_that_stands_or_is_outside_is_where_it_is(feasible: FeasibleValue) -> None:
    states = random_states(500)
    states[:250, 2] = 0.0
    states[250:, 0] = 3.01
    np.testing.assert_allclose(feasible.value(states), margin(states), rtol=1e-12)


def test_nothing_happens_after_the_box(feasible: FeasibleValue) -> None:
    # Along the rim towards a hazard, and out with the next step, whatever the action.
    leaving = np.array([[-2.0, 3.0, 2.0, 0.2]])
    after = margin(step_states(leaving, np.zeros((1, 2))))
    assert feasible.value(leaving) == pytest.approx(after, abs=0.01)


def test_head_on_is_infeasible_and_far_away_is_not(feasible: FeasibleValue) -> None:
    south = np.pi / 2 * 3
    value = feasible.value(
        [
            [0.4, -2.1, 2.0, np.pi / 2],  # 0.1 m before the hazard, at full speed
            [0.4, -2.1, 2.0, south],  # as near, driving away
            [0.4, -2.1, 0.3, np.pi / 2],  # slow enough to stop
            [-2.7, 2.7, 2.0, np.pi / 2],
        ]
    )
    assert value[0] > 0.1 and (value[1:] < -0.01).all()
    assert value[1] == pytest.approx(-0.1)


def test_more_speed_towards_a_hazard_is_worse(feasible: FeasibleValue) -> None:
    speeds = np.linspace(0, 2, 41)
    states = [[0.4, -2.4, v, np.pi / 2] for v in speeds]
    assert (np.diff(feasible.value(states)) > -1e-6).all()


def test_starts_of_the_original_demonstration(feasible: FeasibleValue) -> None:
    starts = [[-1.8, 0, 2, np.pi / 4], [-1.5, 0, 2, np.pi / 4], [-2.7, -2.7, 2, np.pi / 2]]
    np.testing.assert_allclose(feasible.value(starts), [-0.058, 0.142, -2.5], atol=0.03)


def test_the_hazards_are_each_others_mirror(feasible: FeasibleValue) -> None:
    states = random_states(1000)
    mirrored = states * [-1, -1, 1, 1] + [0, 0, 0, np.pi]
    np.testing.assert_allclose(feasible.value(states), feasible.value(mirrored), atol=1e-4)


def test_headings_are_periodic_and_backward_is_turned_round(feasible: FeasibleValue) -> None:
    states = random_states(1000)
    value = feasible.value(states)
    backward = states * [1, 1, -1, 1] + [0, 0, 0, np.pi]
    for other in (states + np.array([0, 0, 0, 2 * np.pi]), backward):
        np.testing.assert_allclose(feasible.value(other), value, atol=1e-6)


def test_it_agrees_with_every_pair_of_turns(feasible: FeasibleValue) -> None:
    states = random_states(150)
    steps = 40
    brake = braking(states[:, 2], steps)
    best = np.full(len(states), np.inf)
    for first in (-1, 0, 1):
        for then in (-1, 0, 1):
            for switch in range(0, steps, 2):
                turns = np.where(np.arange(steps) < switch, first, then)
                best = np.minimum(best, worst(states, turns, brake))
    difference = feasible.value(states) - best
    assert np.abs(difference).mean() < 0.008 and np.abs(difference).max() < 0.12
    clear = np.abs(best) > 0.04
    assert ((feasible.value(states) > 0) == (best > 0))[clear].all()


def test_no_random_control_escapes_from_an_infeasible_state(feasible: FeasibleValue) -> None:
    states = random_states(3000, seed=2)
    value = feasible.value(states)
    states, value = (part[(value > 0.04) & (margin(states) < 0)] for part in (states, value))
    assert len(states) > 50
    rng = np.random.default_rng(3)
    shape = (6, 200, len(states))  # held for 7 steps each
    turns, accelerations = (np.repeat(rng.integers(-1, 2, shape), 7, 0) for _ in range(2))
    many = np.broadcast_to(states, (200, *states.shape))
    assert (worst(many, turns, accelerations).min(0) > 0).all()


def test_a_slice_is_the_value_on_the_box(feasible: FeasibleValue) -> None:
    picture = feasible.slice(1.0, np.pi / 2, 7)
    assert picture.shape == (7, 7)
    # The first index is x: (1, 0) is beside the first hazard's front, (0, 1) in the second's.
    assert picture[4, 3] == feasible.value([[1.0, 0.0, 1.0, np.pi / 2]])[0]
    assert picture[3, 4] == feasible.value([[0.0, 1.0, 1.0, np.pi / 2]])[0]


def test_levels_come_one_by_one_and_make_the_value() -> None:
    levels = list(speed_levels(SMALL))
    assert len(levels) == SMALL.speeds == 11
    assert not levels[0].any() and levels[-1].shape == (12, 31, 31)
    for slower, faster in pairwise(levels):
        assert faster.dtype == torch.float32 and (faster >= 0).all() and faster.sum() > slower.sum()
    states = random_states(50) * [1, 1, 0.25, 1]
    ours = FeasibleValue(SMALL, iter(levels)).value(states)
    np.testing.assert_array_equal(ours, feasible_value(SMALL).value(states))


def test_discounting_lowers_it_down_to_the_margin() -> None:
    states = random_states(500) * [1, 1, 0.25, 1]
    values = [feasible_value(SMALL, gamma).value(states) for gamma in (1e-9, 0.9, 0.99, 1.0)]
    assert (np.diff(values, axis=0) >= -1e-9).all() and values[1].mean() < values[3].mean()
    np.testing.assert_allclose(values[0], margin(states), atol=1e-6)


@pytest.mark.parametrize(("key", "gamma"), [("viz_V", 1.0), ("viz_Vg", 0.99)])
def test_slices_of_the_reference(
    key: str, gamma: float, shared: Path, feasible: FeasibleValue
) -> None:
    reference = np.load(shared / "oracle" / "point_robot_slices.npz")
    ours = feasible if gamma == 1 else feasible_value(GRID, gamma)
    for (v, theta), expected in zip(reference["viz_slices"], reference[key], strict=True):
        found = ours.slice(v, theta, len(reference["viz_x"]))
        assert iou(found, expected) >= 0.97
        assert np.abs(found - expected).mean() < 0.01


@pytest.mark.parametrize(
    "states", [[0.0] * 4, [[0.0] * 3], [[0.0, np.inf, 0.0, 0.0]], [[0.0, 0.0, -2.1, 0.0]]]
)
def test_states_without_a_value_are_refused(states: list, feasible: FeasibleValue) -> None:
    with pytest.raises(ValueError, match=r"give (finite ones, \(N, 4\)|Grid a larger top_speed)"):
        feasible.value(states)


def test_impossible_grids_and_discounts_are_refused() -> None:
    for wrong in ({"points": 1}, {"angles": 0}, {"top_speed": 0.0}, {"top_speed": np.nan}):
        with pytest.raises(ValueError, match="points >= 2"):
            Grid(**wrong)
    for gamma in (0.0, 1.1):
        with pytest.raises(ValueError, match="gamma"):
            feasible_value(SMALL, gamma)
