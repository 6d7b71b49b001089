"""Costs and margins: recorded, kept by Minari, read back, and refused where they make no sense."""

import minari
import numpy as np
import pytest
import torch

from domains.rl.collect.behaviour import Uniform
from domains.rl.collect.play import play
from domains.rl.collect.presets import Preset, Quality
from domains.rl.collect.recorder import Size, record
from domains.rl.data.minari_data import load
from domains.rl.safe import margin
from domains.rl.safe.point_robot import ID
from tests.rl.logged import Corridor, episode, made

POINT = Preset(ID, (Quality("random", Uniform()),), Uniform(), 1)


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    return tmp_path


class Signalling(Corridor):
    """A Corridor of 3 steps that tells given infos: of the reset, then of every step."""

    def __init__(self, infos):
        self.infos = infos

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        return super().reset(seed=seed)[0], self.infos[0]

    def step(self, action):
        self.steps += 1
        state, reward, *_ = super().step(action)
        return state, reward, False, self.steps == len(self.infos) - 1, self.infos[self.steps]


def played(*infos):
    env = Signalling(infos)
    return play(env, "some", Uniform(), 0, np.random.default_rng(0))


def test_costs_follow_the_steps_and_margins_the_states():
    made(
        "a-v0",
        [
            episode(range(3), infos={"cost": np.array([9.0, 0, 1, 2]), "h": [-1.0, 0, 1, 2]}),
            episode([0.0], infos={"cost": np.array([[8.0], [3.0]]), "h": [5.0, 6.0]}),
        ],
        Corridor(),
    )
    data = load("a-v0")
    assert data.costs.tolist() == [0, 1, 2, 3]
    assert data.margins.tolist() == [-1, 0, 1, 2, 5, 6]
    assert (data.costs.dtype, data.margins.dtype) == (torch.float32, torch.float32)
    assert data.cost_returns.tolist() == [3, 3]
    again = load("a-v0")  # from the cache
    assert torch.equal(again.costs, data.costs) and torch.equal(again.margins, data.margins)


def test_costs_may_be_of_the_steps_alone_and_a_margin_goes_before_an_h():
    infos = {"cost": np.array([1, 2]), "margin": np.array([4.0, 5, 6]), "h": np.zeros(7)}
    made("a-v0", [episode([0.0, 0.0], infos=infos)] * 2, Corridor())
    data = load("a-v0")
    assert data.costs.tolist() == [1, 2, 1, 2]
    assert data.margins.tolist() == [4, 5, 6] * 2


def test_a_flag_inside_an_episode_splits_costs_and_margins_too():
    infos = {"cost": np.arange(5.0), "margin": np.arange(10.0, 15.0)}
    flags = [False, True, False, False]
    made("a-v0", [episode(range(4), truncations=flags, infos=infos)], Corridor())
    data = load("a-v0")
    assert data.lengths.tolist() == [2, 2]
    assert data.costs.tolist() == [1, 2, 3, 4]
    # The state of the cut is the last of one and the first of the next.
    assert data.margins.tolist() == [10, 11, 12, 12, 13, 14]
    assert data.margins[data.at].tolist() == [10, 11, 12, 13]


def test_data_without_costs_stay_without():
    made("a-v0", [episode(range(2), infos={"speed": np.arange(3.0)})] * 2, Corridor())
    data = load("a-v0")
    assert data.costs is None and data.margins is None


COSTS, MARGINS = {"cost": np.zeros(2)}, {"margin": np.zeros(2)}


@pytest.mark.parametrize(
    ("infos", "message"),
    [
        ([COSTS, None], r"a-v0 has costs in 1 of 2 episodes \(.* without is episode 1\)"),
        ([COSTS, COSTS | MARGINS], r"a-v0 has margins in 1 of 2 episodes \(.* is episode 0\)"),
        ([COSTS, {"cost": np.zeros(3)}], r"episode 1 of a-v0 .*'cost' of shape \(3,\).* 2 or 1"),
        ([COSTS, {"cost": np.zeros((2, 2))}], r"episode 1 .* 'cost' of shape \(2, 2\)"),
        ([{"h": np.zeros(1)}] * 2, r"episode 0 of a-v0 has infos 'h' of shape \(1,\), expected 2"),
        ([{"cost": {"hazard": np.zeros(2)}}] * 2, "episode 0 .* 'cost' that are no numbers"),
        ([{"cost": ["no", "yes"]}] * 2, "episode 0 of a-v0 .*'cost' that are no numbers"),
        (
            [COSTS, {"cost": np.array([0, np.nan])}],
            "a-v0 has costs that are NaN or infinite in 1 steps, the first in episode 1",
        ),
        ([COSTS, {"cost": np.array([0, np.inf])}], "costs that are NaN or infinite in 1"),
        ([COSTS, {"cost": np.array([0, -1.0])}], "costs that are negative in 1 .* episode 1"),
        ([MARGINS, {"margin": np.full(2, np.nan)}], "margins that are NaN .* 2 .* episode 1"),
    ],
)
def test_costs_and_margins_that_make_no_sense_are_refused(infos, message):
    made("a-v0", [episode([0.0], infos=own) for own in infos], Corridor())
    with pytest.raises(ValueError, match=message) as caught:
        load("a-v0")
    assert "\n" not in str(caught.value)


def test_what_the_point_robot_tells_is_recorded_and_read_back():
    episodes, _ = record(POINT, "guided/point-v0", Size(1, 20), reference_episodes=1)
    data = minari.load_dataset("guided/point-v0")
    cost = data[0].infos["cost"]
    assert cost.shape == data[0].infos["margin"].shape == (episodes[0].steps + 1,)
    costs = [e.infos["cost"][1:].sum() for e in data.iterate_episodes()]
    assert [e.cost for e in episodes] == costs and len(set(costs)) > 1
    about = data.storage.get_episode_metadata(range(20))
    assert [m["cost"] for m in about] == costs
    flat = load("guided/point-v0")
    # Inside the hazards, and only there: the observation begins with the place.
    inside = margin(flat.states[:, :2].double().numpy())
    np.testing.assert_allclose(flat.margins, inside, atol=1e-5)
    assert torch.equal(flat.costs > 0, flat.margins[flat.at + 1] > 0)
    assert flat.cost_returns.tolist() == costs


def test_a_reset_without_cost_counts_nothing_and_one_without_margin_drops_the_margins():
    about, buffer = played({}, *[{"cost": np.float32(i), "margin": 2.0} for i in (1, 0, 2)])
    assert buffer.infos.keys() == {"cost"}
    assert buffer.infos["cost"].tolist() == [0, 1, 0, 2]
    assert about.cost == 3
    about, buffer = played({"cost": 5.0, "margin": -1}, {"cost": 1, "margin": np.array(3.0)})
    assert buffer.infos["cost"].tolist() == [5, 1]
    assert buffer.infos["margin"].tolist() == [-1, 3]
    assert about.cost == 1


def test_an_environment_that_fills_one_info_again_and_again_is_read_in_time():
    class Reusing(Signalling):
        def step(self, action):
            state, reward, end, cut, new = super().step(action)
            self.infos[0].update(new)
            return state, reward, end, cut, self.infos[0]

    env = Reusing([{"cost": 0.0}, {"cost": 1.0}, {"cost": 2.0}])
    _, buffer = play(env, "some", Uniform(), 0, np.random.default_rng(0))
    assert buffer.infos["cost"].tolist() == [0, 1, 2]


def test_tasks_without_costs_are_recorded_as_before():
    about, buffer = played({}, {}, {})
    assert (about.cost, buffer.infos) == (None, None)


@pytest.mark.parametrize(
    ("infos", "message"),
    [
        (({}, {"cost": 1.0}, {}), "tells a cost in 1 of 2 steps, expected all or none"),
        (({}, {"cost": "high"}), "info has the cost 'high', expected a number"),
        (({}, {"cost": {"hazard": 1.0}}), "expected a number; correct the environment"),
    ],
)
def test_an_environment_that_tells_nonsense_is_refused(infos, message):
    with pytest.raises(ValueError, match=message):
        played(*infos)
