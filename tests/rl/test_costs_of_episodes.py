"""Costs and margins of episodes: as a plain loop counts them, whatever runs beside it."""

from functools import partial

import gymnasium
import numpy as np
import pytest

from domains.rl.acting import Together
from domains.rl.environments import make
from domains.rl.evaluate import Trials, evaluate, sweep
from guided.rng import Rng, stream_seed
from tests.rl.arenas import Noisy, Walk, limited_walk

ROBOT = partial(make, "guided/PointRobot-v0", max_episode_steps=60)


class Driver:
    """Accelerates and turns at random, by each row's own stream."""

    def act(self, obs, *, deterministic=False, rng=None):
        return rng.uniform((len(obs), 2)).double().numpy() * 2 - 1


def plain(seed, episode):
    """What an episode of the robot costs, without any of the code under test."""
    env, rng = ROBOT(), Rng(stream_seed(seed, episode))
    _, info = env.reset(seed=stream_seed(seed, episode, 1) % 2**31)
    costs, margins, over = [], [info["margin"]], False
    while not over:
        action = rng.uniform((1, 2)).double().numpy()[0] * 2 - 1
        _, _, terminated, truncated, info = env.step(action.astype(np.float32))
        costs.append(info["cost"])
        margins.append(info["margin"])
        over = terminated or truncated
    hit = np.flatnonzero(costs)
    return sum(costs), len(hit), hit[0] if len(hit) else -1, max(margins)


@pytest.mark.parametrize("envs", [1, 3, None])
def test_costs_are_those_of_a_plain_loop_whatever_runs_beside(envs):
    found = evaluate(ROBOT, Driver(), Trials(20, seed=3, envs=envs))
    wanted = np.array([plain(3, i) for i in range(20)])
    np.testing.assert_array_equal(found.costs, wanted[:, 0])
    np.testing.assert_array_equal(found.violations, wanted[:, 1])
    np.testing.assert_array_equal(found.first_violation, wanted[:, 2])
    np.testing.assert_array_equal(found.worst_margin, wanted[:, 3])
    first = found.first_violation
    assert (first == -1).any() and (first == 0).any() and (first > 0).any()  # all kinds happened
    assert len(np.unique(found.lengths)) > 2  # some rested while others went on


def test_processes_and_variants_tell_the_same_costs():
    here = evaluate(ROBOT, Driver(), Trials(4, seed=3))
    apart = evaluate(ROBOT, Driver(), Trials(4, seed=3, envs=2, processes=True))
    both = sweep(ROBOT, Together({"a": Driver(), "b": Driver()}), Trials(4, seed=3))
    for other in (apart, both["a"], both["b"]):
        for name in ("costs", "violations", "first_violation", "worst_margin"):
            np.testing.assert_array_equal(getattr(other, name), getattr(here, name), err_msg=name)


class Toll(gymnasium.Wrapper):
    """Tells of a Walk what a rule makes of its place."""

    def __init__(self, env, rule):
        super().__init__(env)
        self.rule = rule

    def step(self, action):
        *result, info = self.env.step(action)
        return *result, {**info, **self.rule(float(self.env.unwrapped.x))}


def tolled(rule, steps=12):
    return Toll(limited_walk(steps), rule)


def walked(rule, **trials):
    """Three episodes with steps of 0.5 from a random start below 1."""
    return evaluate(
        partial(tolled, rule), Noisy(), Trials(3, deterministic=True, **trials),
        keep=lambda obs: obs["x"],
    )  # fmt: skip


def places(found):
    return [trace.states[1:, 0] for trace in found.traces]


def test_costs_of_any_size_add_up_and_only_those_above_0_are_violations():
    found = walked(lambda x: {"cost": max(x - 3, 0.0)})
    for i, x in enumerate(places(found)):
        np.testing.assert_allclose(found.costs[i], np.maximum(x - 3, 0).sum())
        assert found.violations[i] == (x > 3).sum()
        assert found.first_violation[i] == np.argmax(x > 3)
    assert found.worst_margin is None


def test_an_environment_that_tells_a_cost_only_where_there_is_one_is_silent_of_zeros():
    loud = walked(lambda x: {"cost": float(x > 3)})
    quiet = walked(lambda x: {"cost": True} if x > 3 else {}, envs=2)
    none = walked(lambda x: {"cost": None})
    np.testing.assert_array_equal(quiet.costs, loud.costs)
    np.testing.assert_array_equal(quiet.first_violation, loud.first_violation)
    assert loud.costs.min() > 0 and none.costs is None and none.first_violation is None


def test_margins_that_are_not_told_everywhere_are_no_zeros():
    found = walked(lambda x: {"margin": x - 9} if 2 < x < 3 else {}, envs=2)
    wanted = [(x[(x > 2) & (x < 3)] - 9).max() for x in places(found)]
    np.testing.assert_allclose(found.worst_margin, wanted)
    assert found.costs is None


def test_environments_without_costs_have_none():
    found = evaluate(limited_walk, Noisy(), Trials(2))
    assert found.costs is found.violations is found.first_violation is found.worst_margin is None


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ({"cost": np.nan}, "told a cost of nan; it must be finite"),
        ({"margin": np.inf}, "told a margin of inf"),
        ({"cost": np.ones(2)}, r"the cost array\(\[1., 1.\]\), which is not one number"),
        ({"cost": {"a": 1}}, "not one number; join several"),
    ],
)
def test_a_cost_that_is_no_number_is_one_sentence(info, said):
    with pytest.raises(ValueError, match=said):
        walked(lambda x: info)


def test_a_cut_episode_counts_its_last_step():
    found = evaluate(lambda: Toll(Walk(), lambda x: {"cost": 1.0}), Noisy(), Trials(2, max_steps=4))
    np.testing.assert_array_equal(found.costs, 4)
