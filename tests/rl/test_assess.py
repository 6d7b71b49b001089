"""What is made of played episodes, and in which environments they can be played."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from domains.rl.assess import calibration, require_fit, row, table
from domains.rl.data.normalise import Normaliser
from domains.rl.evaluate import Trials, evaluate
from tests.rl.arenas import Noisy, Walk, limited_walk


def judged(q):
    """A policy that believes every step of a Walk to be worth q."""
    one = torch.ones(1)
    critic = SimpleNamespace(
        config=SimpleNamespace(gamma=0.99), q=lambda s, a: torch.full((len(s),), q)
    )
    networks = SimpleNamespace(critic=critic, normaliser=Normaliser(0 * one, one, -one, one))
    return SimpleNamespace(networks=networks)


def played(pace, steps):
    """Walk without noise; the reward of every step is the pace."""
    walker = Noisy(noise=0.0, pace=pace)
    return evaluate(partial(limited_walk, steps), walker, Trials(3), keep=lambda obs: obs["x"])


def test_the_future_of_an_episode_that_was_cut_counts_in_its_calibration():
    episodes = played(-1.0, 200)  # for ever further away
    assert not episodes.terminated.any()
    q, earned = calibration(judged(-100.0), episodes)  # -1 / (1 - 0.99)
    assert q.shape == earned.shape == (600,)
    np.testing.assert_allclose(earned, -100.0)


def test_an_episode_that_ended_has_no_future_in_its_calibration():
    episodes = played(1.0, 200)
    assert episodes.terminated.all()
    _, earned = calibration(judged(7.0), episodes)
    left = np.concatenate([np.arange(length, 0, -1) for length in episodes.lengths])
    np.testing.assert_allclose(earned, (1 - 0.99**left) / (1 - 0.99))


def test_what_calibration_lacks_is_one_sentence():
    with pytest.raises(ValueError, match="needs a critic, and episodes whose states were kept"):
        calibration(judged(0.0), evaluate(limited_walk, Noisy(), Trials(1)))


def test_policies_act_where_actions_have_no_bounds():
    require_fit(Walk, 1, 1, ("x",), "data")  # those of the data were taken from the data
    with pytest.raises(ValueError, match="data has 2 observed numbers"):
        require_fit(Walk, 2, 1, ("x",), "data")


def test_a_table_shows_the_discounted_returns_by_which_a_scale_is_chosen():
    trials = Trials(3, discount=0.5)
    rows = {
        pace: row(evaluate(partial(limited_walk, 3), Noisy(0.0, pace), trials), None)
        for pace in (-1.0, 1.0)
    }
    head, *lines = table(rows, "scale", 1.0).splitlines()
    place = head.index("discounted")
    shown = [float(line[place : place + 10]) for line in lines[:2]]
    assert shown == [-1.75, 1.75]  # 1 + 1/2 + 1/4
    assert "chosen" not in lines[0] and lines[1].endswith("<- chosen")
    assert "validation episodes" in lines[2]
    assert len(table(rows, "scale").splitlines()) == 3
