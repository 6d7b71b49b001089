"""Flat episodes, flattened observations, scores and the normaliser."""

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch

from domains.rl.data.cache import keep, kept
from domains.rl.data.checks import require_trainable
from domains.rl.data.d4rl import published
from domains.rl.data.flatten import flatten, layout
from domains.rl.data.normalise import Normaliser
from domains.rl.data.offline import OfflineData
from domains.rl.data.scores import normalised_score, reference


def data(lengths=(3, 1, 4), **changes):
    generator = torch.Generator().manual_seed(0)
    count, starts = sum(lengths), torch.tensor([0, *lengths]).cumsum(0)
    timeouts = torch.zeros(count, dtype=torch.bool)
    timeouts[starts[1:] - 1] = True
    made = OfflineData(
        states=torch.randn(count + len(lengths), 2, generator=generator) * 3 + 5,
        actions=torch.rand(count, 2, generator=generator),
        rewards=torch.randn(count, generator=generator),
        terminals=torch.zeros(count, dtype=torch.bool),
        timeouts=timeouts,
        starts=starts,
        low=torch.tensor([-1.0, 0.0]),
        high=torch.tensor([1.0, 4.0]),
        name="made",
    )
    return replace(made, **changes)


@pytest.mark.parametrize("gamma", [0.0, 0.9, 1.0])
def test_returns_to_go_are_the_discounted_sums(gamma):
    made = data((3, 1, 4, 1, 7))
    expected = []
    for first, stop in zip(made.starts[:-1], made.starts[1:], strict=True):
        for i in range(first, stop):
            rest = made.rewards[i:stop].double()
            expected.append(float((rest * gamma ** torch.arange(len(rest))).sum()))
    wanted = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(made.returns_to_go(gamma), wanted)
    assert len(made.returns_to_go(gamma)) == len(made)


def test_undiscounted_returns_to_go_begin_with_the_returns():
    made = data()
    first = made.returns_to_go(1.0)[made.starts[:-1]]
    torch.testing.assert_close(first, made.returns)


@pytest.mark.parametrize("gamma", [-0.1, 1.1])
def test_a_discount_outside_of_0_to_1_is_refused(gamma):
    with pytest.raises(ValueError, match=r"gamma must be in \[0, 1\], got"):
        data().returns_to_go(gamma)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rewards": torch.zeros(7)}, r"rewards has the shape \(7,\), expected \(8,\)"),
        ({"states": torch.zeros(8, 2)}, r"states has the shape \(8, 2\), expected \(11, 2\)"),
        ({"low": torch.zeros(3)}, r"low has the shape \(3,\), expected \(2,\)"),
        ({"starts": torch.tensor([0, 3, 4, 7])}, "starts must go from 0 to 8"),
        ({"terminals": torch.ones(8, dtype=torch.bool)}, "both a terminal and a timeout"),
    ],
)
def test_tensors_that_contradict_each_other_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        data(**changes)


@pytest.mark.parametrize("name", ["states", "actions", "rewards"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(name, value):
    made = data()
    tensor = getattr(made, name).clone()
    tensor[5] = value
    said = {"states": "observations", "actions": "actions", "rewards": "rewards"}[name]
    episode = 1 if name == "states" else 2
    with pytest.raises(ValueError, match=rf"made has {said} that are NaN.* 1 steps.*e {episode};"):
        require_trainable(replace(made, **{name: tensor}))


def test_one_episode_is_too_few_to_train_on():
    with pytest.raises(ValueError, match="made has 1 episode, training needs 2"):
        require_trainable(data((5,)))


def test_a_plain_observation_passes_untouched():
    one = np.arange(4, dtype=np.float32)
    assert flatten(one, 4) is one
    many = np.zeros((7, 3, 4))
    assert flatten(many, 4).shape == (7, 3, 4)
    assert flatten(many, 4).dtype == np.float32


def test_an_array_of_several_axes_becomes_a_vector():
    space = gym.spaces.Box(-1, 1, (2, 3))
    size, keys, shapes = layout(space)
    assert (size, keys, shapes) == (6, None, ((2, 3),))
    many = np.stack([space.sample() for _ in range(5)])
    flat = flatten(many, size, keys, shapes)
    assert flat.shape == (5, 6)
    np.testing.assert_array_equal(flatten(many[3], size, keys, shapes), flat[3])
    np.testing.assert_array_equal(flat[3], many[3].ravel())


def test_a_dict_observation_is_put_together_in_one_order():
    box = gym.spaces.Box
    space = gym.spaces.Dict(
        achieved_goal=box(-1, 1, (2,)),
        desired_goal=box(-1, 1, (2,)),
        camera=box(-1, 1, (2, 2)),
        observation=box(-1, 1, (3,)),
        time=box(-1, 1, ()),
    )
    size, keys, shapes = layout(space)
    assert keys == ("observation", "camera", "desired_goal", "time")
    assert size == 10
    one = space.sample()
    flat = flatten(one, size, keys, shapes)
    parts = [one["observation"], one["camera"].ravel(), one["desired_goal"], [one["time"]]]
    np.testing.assert_array_equal(flat, np.concatenate(parts))
    # In another order of the entries, and in a batch.
    batch = {key: np.stack([one[key], 2 * one[key]]) for key in reversed(list(one))}
    both = np.stack([flat, 2 * flat])
    np.testing.assert_array_equal(flatten(batch, size, keys, shapes), both)
    assert layout(space, ["time", "achieved_goal"])[:2] == (3, ("time", "achieved_goal"))


def test_entries_of_one_axis_need_no_shapes():
    one = {"b": np.ones(2), "a": np.zeros(1), "c": np.ones(9)}
    assert flatten(one, 3, ("a", "b")).tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("observation", "keys", "message"),
    [
        (np.zeros(3), None, r"observation of the shape \(3,\), expected \(\.\.\., 4\)"),
        (np.zeros((4, 1)), None, r"shape \(4, 1\), expected \(\.\.\., 4\)"),
        (np.float32(1), None, r"shape \(\), expected \(\.\.\., 4\)"),
        ({"a": np.zeros(4)}, None, "an observation of the type dict, expected an array"),
        (np.zeros(4), ("a",), "type ndarray, expected a mapping with the entries a"),
        ({"a": np.zeros(4)}, ("a", "b"), r"entries \['a'\], expected \['a', 'b'\]; b is missing"),
        ({"a": np.zeros(3)}, ("a",), "an observation of 3 numbers, expected 4"),
        ({"a": np.zeros((2, 2)), "b": np.zeros(2)}, ("a", "b"), "entries of different batches"),
    ],
)
def test_an_observation_of_another_shape_is_refused(observation, keys, message):
    with pytest.raises(ValueError, match=message):
        flatten(observation, 4, keys)


@pytest.mark.parametrize(
    ("space", "keys", "message"),
    [
        (gym.spaces.Discrete(3), None, r"observations must be Box spaces.*got Discrete\(3\)"),
        (gym.spaces.Box(0, 1, (2,)), ["a"], "keys are for Dict observations"),
        (gym.spaces.Dict(a=gym.spaces.Discrete(2)), None, "entry 'a' must be Box"),
        (gym.spaces.Dict(a=gym.spaces.Box(0, 1)), ["b"], r"no entries \['b'\]; choose.*'a'"),
        (gym.spaces.Dict(achieved_goal=gym.spaces.Box(0, 1)), None, "no entry .* is left"),
    ],
)
def test_a_space_of_other_things_than_numbers_is_refused(space, keys, message):
    with pytest.raises(ValueError, match=message):
        layout(space, keys)


@pytest.mark.parametrize(
    ("name", "scores"),
    [
        ("halfcheetah-medium-v2", (-280.18, 12135.0)),
        ("hopper-medium-replay-v2", (-20.27, 3234.3)),
        ("walker2d_medium_expert-v2", (1.63, 4592.3)),
        ("mujoco/hopper/medium-v0", (-20.27, 3234.3)),
        ("mujoco/ant/expert-v0", (-325.6, 3879.7)),
        ("D4RL/pen/human-v2", (96.26, 3076.8)),
        ("relocate-cloned-v1", (-6.4, 4233.9)),
        ("D4RL/kitchen/partial-v2", (0.0, 4.0)),
        ("antmaze-large-diverse-v2", (0.0, 1.0)),
        ("maze2d-umaze-v1", (23.85, 161.86)),
        ("maze2d-umaze-sparse-v1", (23.85, 161.86)),
        ("maze2d-large-dense-v1", (30.57, 303.49)),
        # These are other tasks, or a user's own.
        ("D4RL/pointmaze/umaze-v2", None),
        ("pointmaze-umaze-v3", None),
        ("D4RL/antmaze/umaze-v1", None),
        ("mine/hopper/medium-v0", None),
        ("hopper-mine-v0", None),
        ("mujoco/humanoid/expert-v0", None),
    ],
)
def test_published_scores(name, scores):
    assert published(name) == scores


def test_scores_are_as_d4rl_prints_them():
    hopper = published("hopper-medium-v2")
    assert normalised_score(3234.3, hopper) == pytest.approx(100)
    assert normalised_score(-20.27, hopper) == pytest.approx(0)
    # D4RL: (r - min) / (max - min) = 0.5 at the middle.
    assert normalised_score((3234.3 - 20.27) / 2, hopper) == pytest.approx(50)
    many = normalised_score(torch.tensor([-20.27, 3234.3]), hopper)
    torch.testing.assert_close(many, torch.tensor([0.0, 100.0]))
    assert normalised_score(np.array([3234.3]), hopper).tolist() == [100.0]
    assert normalised_score(1.0, None) is None


def test_a_data_sets_own_reference_comes_first():
    own = {"ref_min_score": -1, "ref_max_score": 5.0}
    assert reference("mujoco/hopper/medium-v0", own) == (-1.0, 5.0)
    assert reference("mujoco/hopper/medium-v0", {"ref_min_score": 1}) == (-20.27, 3234.3)
    assert reference("mine-v0", {}) is None
    assert reference("mine-v0", {"ref_min_score": 2.0, "ref_max_score": 2.0}) is None
    for low in ("1.0", [1.0]):
        with pytest.raises(ValueError, match=r"mine-v0 have ref_min_score .*expected numbers"):
            reference("mine-v0", {"ref_min_score": low, "ref_max_score": 2.0})


def test_normalised_states_and_actions():
    made = data((200, 300))
    normaliser = Normaliser.of(made)
    states = normaliser.states(made.states)
    torch.testing.assert_close(states.mean(0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(states.std(0, correction=0), torch.ones(2))
    bounds = torch.tensor([[-1.0, 0.0], [1.0, 4.0], [0.5, 1.0]])
    expected = torch.tensor([[-1.0, -1.0], [1.0, 1.0], [0.5, -0.5]])
    torch.testing.assert_close(normaliser.actions(bounds), expected)
    torch.testing.assert_close(normaliser.actions_back(expected), bounds)


def test_a_state_that_never_varies_is_0():
    made = data()
    constant = made.states.clone()
    constant[:, 1] = 1e4
    states = Normaliser.of(replace(made, states=constant)).states(constant)
    assert states[:, 1].abs().max() == 0


def test_a_normaliser_survives_a_checkpoint():
    normaliser = Normaliser.of(data())
    again = Normaliser.from_tensors(normaliser.tensors())
    for name, value in normaliser.tensors().items():
        assert torch.equal(getattr(again, name), value)
    with pytest.raises(ValueError, match=r"got the tensors \['mean'\], expected"):
        Normaliser.from_tensors({"mean": torch.zeros(2)})


@pytest.mark.parametrize(
    "bounds", [(-torch.inf, torch.inf), (1.0, 1.0), (1.0, -1.0), (float("nan"), 1.0)]
)
def test_bounds_that_cannot_be_mapped_are_refused(bounds):
    low, high = (torch.full((2,), bound) for bound in bounds)
    with pytest.raises(ValueError, match="bounds of actions must be finite and apart"):
        Normaliser.of(data(low=low, high=high))


def test_kept_data_come_back_whole_or_not_at_all(tmp_path):
    made = data(keys=("a", "b"), shapes=((1,), (1,)), reference=(0.0, 2.0), environment="{}")
    path = tmp_path / "deep" / "made.safetensors"
    assert kept(path, {"steps": 8}) is None
    keep(path, made, {"steps": 8})
    again = kept(path, {"steps": 8})
    for name, value in vars(made).items():
        same = getattr(again, name)
        assert torch.equal(same, value) if isinstance(value, torch.Tensor) else same == value
    assert kept(path, {"steps": 9}) is None
    path.write_bytes(path.read_bytes()[:-9])
    assert kept(path, {"steps": 8}) is None
    assert [p.name for p in path.parent.iterdir()] == [path.name]
