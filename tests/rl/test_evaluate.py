"""Evaluation: every episode as if played alone, counted once, whatever runs beside it."""

from functools import partial

import gymnasium
import numpy as np
import pytest

from domains.rl.acting import Together, Varied
from domains.rl.evaluate import Played, Trials, evaluate, sweep
from domains.rl.vector import SideBySide
from guided.rng import Rng, stream_seed
from tests.rl.arenas import REACH, Noisy, Seeker, Walk, limited_walk, point_maze


def same(a, b):
    for name in ("returns", "discounted", "lengths", "terminated"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


def by_hand(seed, episode, steps, discount=1.0, pace=0.5, noise=0.3):
    """Return and length of an episode of Walk under Noisy, without any of the code under test."""
    env, rng = Walk(), Rng(stream_seed(seed, episode))
    env.reset(seed=stream_seed(seed, episode, 1) % 2**31)
    total = discounted = 0.0
    for step in range(steps):
        action = pace + noise * rng.normal((1, 1)).double().numpy()[0]
        _, reward, over, _, _ = env.step(action)
        total += reward
        discounted += discount**step * reward
        if over:
            break
    return total, discounted, step + 1, over


@pytest.mark.parametrize("envs", [1, 3, 7, None])
def test_results_are_those_of_a_plain_loop_whatever_runs_beside(envs):
    trials = Trials(7, seed=5, envs=envs, discount=0.9)
    found = evaluate(partial(limited_walk, 9), Noisy(), trials)
    wanted = np.array([by_hand(5, i, 9, 0.9) for i in range(7)])
    np.testing.assert_allclose(found.returns, wanted[:, 0], rtol=1e-12)
    np.testing.assert_allclose(found.discounted, wanted[:, 1], rtol=1e-12)
    np.testing.assert_array_equal(found.lengths, wanted[:, 2])
    np.testing.assert_array_equal(found.terminated, wanted[:, 3])
    assert 0 < found.terminated.sum() < 7  # both kinds of end happened
    assert found.success is None
    assert len(found) == 7


def test_a_selection_of_episodes_is_the_same_episodes():
    whole = evaluate(limited_walk, Noisy(), Trials(6, seed=2, envs=2))
    part = evaluate(limited_walk, Noisy(), Trials(3, seed=2, first=2))
    np.testing.assert_array_equal(part.returns, whole.returns[2:5])
    np.testing.assert_array_equal(part.starts["x"], whole.starts["x"][2:5])
    other = evaluate(limited_walk, Noisy(), Trials(6, seed=3))
    assert not np.isin(other.starts["x"], whole.starts["x"]).any()


def test_max_steps_ends_an_episode_as_a_time_limit_does():
    cut = evaluate(Walk, Noisy(), Trials(5, max_steps=9, envs=2))
    same(cut, evaluate(partial(limited_walk, 9), Noisy(), Trials(5)))
    assert cut.lengths.max() == 9


def test_only_unfinished_rows_are_sent_and_stepped():
    policy, steps = Noisy(), []
    found = evaluate(partial(limited_walk, steps_seen=steps), policy, Trials(5, envs=3))
    assert sum(policy.rows) == len(steps) == found.lengths.sum()
    assert policy.rows[0] == 3
    assert policy.rows[-1] == 1


def test_deterministic_is_handed_on():
    found = evaluate(limited_walk, Noisy(), Trials(4, deterministic=True))
    np.testing.assert_array_equal(found.lengths, np.ceil((REACH - found.starts["x"][:, 0]) / 0.5))


@pytest.mark.parametrize("name", ["success", "is_success"])
def test_success_is_what_the_info_says(name):
    found = evaluate(partial(limited_walk, 11, success=name), Noisy(), Trials(8, envs=3))
    np.testing.assert_array_equal(found.success, found.terminated)
    assert 0 < found.success.sum() < 8


def test_traces_hold_every_step_and_the_last_state():
    trials = Trials(5, envs=2, discount=0.8)
    found = evaluate(limited_walk, Noisy(), trials, keep=lambda obs: obs["x"])
    for i, trace in enumerate(found.traces):
        assert len(trace.states) == len(trace.actions) + 1 == found.lengths[i] + 1
        np.testing.assert_allclose(np.diff(trace.states, axis=0), trace.actions)
        np.testing.assert_array_equal(trace.states[0], found.starts["x"][i])
        np.testing.assert_allclose(trace.rewards.sum(), found.returns[i])
        np.testing.assert_allclose(trace.to_go(0.8)[0], found.discounted[i])
        np.testing.assert_allclose(trace.to_go(0.8)[-1], trace.rewards[-1])
        assert trace.states[-1] >= REACH


def test_progress_ends_at_the_end():
    said = []
    found = evaluate(limited_walk, Noisy(), Trials(5, envs=2), on_step=said.append)
    assert said[-1] == Played(found.lengths.sum(), 5, 5)
    assert [p.finished for p in said] == sorted(p.finished for p in said)


@pytest.mark.parametrize("envs", [1, 4, None])
def test_variants_play_the_same_episodes_as_each_would_alone(envs):
    trials, policy = Trials(4, seed=1, envs=envs), Noisy()
    found = sweep(limited_walk, Varied(policy, "pace", (0.4, 0.8)), trials)
    assert policy.rows[0] == min(envs or 8, 8)  # all variants in one batch
    for pace in (0.4, 0.8):
        same(found[pace], evaluate(limited_walk, Noisy(pace=pace), Trials(4, seed=1)))
    np.testing.assert_array_equal(found[0.4].starts["x"], found[0.8].starts["x"])
    assert (found[0.4].lengths > found[0.8].lengths).all()


def test_policies_that_know_nothing_of_variants_share_a_run():
    policies = {"slow": Noisy(pace=0.4), "fast": Noisy(pace=0.8)}
    found = sweep(limited_walk, Together(policies), Trials(5, envs=3))
    for name, policy in policies.items():
        same(found[name], evaluate(limited_walk, policy, Trials(5)))


def test_processes_change_nothing():
    trials = Trials(5, envs=2)
    apart = evaluate(
        partial(limited_walk, 11, success="success"), Noisy(), Trials(5, envs=2, processes=True)
    )
    here = evaluate(partial(limited_walk, 11, success="success"), Noisy(), trials)
    same(apart, here)
    np.testing.assert_array_equal(apart.success, here.success)


@pytest.mark.parametrize("processes", [False, True])
def test_environments_are_used_again(processes):
    with SideBySide(limited_walk, 3, processes) as envs:
        first = evaluate(envs, Noisy(), Trials(4))
        fewer = evaluate(envs, Noisy(), Trials(2, seed=1))  # one environment has nothing to do
        again = evaluate(envs, Noisy(), Trials(4))
    same(first, evaluate(limited_walk, Noisy(), Trials(4)))
    same(fewer, evaluate(limited_walk, Noisy(), Trials(2, seed=1)))
    same(again, first)


def test_an_interrupted_run_leaves_nothing_behind():
    with SideBySide(limited_walk, 2) as envs:
        with pytest.raises(ValueError, match="shape"):
            evaluate(envs, Returns(np.zeros(1)), Trials(3))
        same(evaluate(envs, Noisy(), Trials(3)), evaluate(limited_walk, Noisy(), Trials(3)))


def test_array_observations_and_a_time_limit_of_the_specification():
    class Still:
        def act(self, obs, *, deterministic=False, rng=None):
            assert obs.shape[1:] == (3,)
            return rng.uniform((len(obs), 1)).numpy()

    def make():
        return gymnasium.make("Pendulum-v1", max_episode_steps=30)

    found = evaluate(make, Still(), Trials(3, envs=2))
    np.testing.assert_array_equal(found.lengths, 30)
    assert found.starts.shape == (3, 3)
    np.testing.assert_array_equal(found.returns, evaluate(make, Still(), Trials(3)).returns)


def test_point_maze_is_as_if_played_alone():
    pytest.importorskip("gymnasium_robotics")
    make = partial(point_maze, 40, continuing_task=False)
    with SideBySide(make, 1) as envs:
        one = evaluate(envs, Seeker(), Trials(3))
        same(evaluate(envs, Seeker(), Trials(3)), one)
    all_of_them = evaluate(make, Seeker(), Trials(3))
    same(one, all_of_them)
    np.testing.assert_array_equal(one.success, one.terminated)
    assert all_of_them.starts["desired_goal"].shape == (3, 2)


class Returns:
    """A policy that returns what it was made with."""

    def __init__(self, actions):
        self.actions = actions

    def act(self, obs, *, deterministic=False, rng=None):
        return self.actions


@pytest.mark.parametrize(
    ("actions", "said"),
    [
        (np.zeros((3, 1)), r"shape \(3, 1\); the 2 observations that it got need \(2, 1\)"),
        (np.zeros(2), r"shape \(2,\)"),
        (np.array([[0.0], [np.nan]]), "NaN or infinite actions for 1 of 2"),
    ],
)
def test_bad_actions_are_one_sentence(actions, said):
    with pytest.raises(ValueError, match=said):
        evaluate(limited_walk, Returns(actions), Trials(2))


def test_bad_rows_of_one_of_several_policies_name_it():
    policies = {"good": Noisy(), "bad": Returns(np.zeros((9, 1)))}
    with pytest.raises(ValueError, match="'bad' returned actions of shape"):
        sweep(limited_walk, Together(policies), Trials(2))


def test_environments_that_cannot_be_evaluated():
    with pytest.raises(ValueError, match=r"no time limit.*give max_steps"):
        evaluate(Walk, Noisy(), Trials(2))
    with pytest.raises(TypeError, match=r"actions of Discrete\(2\).*Box"):
        evaluate(lambda: gymnasium.make("CartPole-v1"), Noisy(), Trials(2))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"episodes": 0}, "episodes = 0"),
        ({"envs": 0}, "envs = 0"),
        ({"max_steps": -1}, "max_steps = -1"),
        ({"seed": -1}, "seed = -1"),
        ({"first": -1}, "first = -1"),
        ({"discount": 0.0}, "discount = 0.0"),
    ],
)
def test_bad_trials_are_one_sentence(wrong, said):
    with pytest.raises(ValueError, match=said):
        Trials(**wrong)


def test_variants_must_be_told_apart():
    with pytest.raises(ValueError, match="each value once"):
        Varied(Noisy(), "pace", (1.0, 1.0))
    with pytest.raises(ValueError, match="no policies"):
        Together({})
