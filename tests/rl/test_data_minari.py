"""Minari data sets made here of real environments, and what is kept of them."""

import json
import os
from pathlib import Path

import gymnasium as gym
import minari
import numpy as np
import pytest
import torch

from domains.rl.data.minari_data import load
from domains.rl.data.sources import load_data
from tests.rl.logged import Corridor, episode, made, walk

HALF = {"observation_space": Corridor.observation_space, "action_space": Corridor.action_space}


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "sets"))
    return tmp_path / "sets"


def test_pendulum_comes_back_exactly():
    env = gym.make("Pendulum-v1", max_episode_steps=20)
    episodes = [walk(env, 100, seed) for seed in range(3)]
    made("test/pendulum-v0", episodes, env)
    data = load_data("test/pendulum-v0")
    assert data.lengths.tolist() == [20, 20, 20]
    states = np.concatenate([np.asarray(e.observations, np.float32) for e in episodes])
    assert torch.equal(data.states, torch.from_numpy(states))
    actions = np.concatenate([np.asarray(e.actions) for e in episodes])
    assert torch.equal(data.actions, torch.from_numpy(actions))
    rewards = np.concatenate([np.asarray(e.rewards, np.float32) for e in episodes])
    assert torch.equal(data.rewards, torch.from_numpy(rewards))
    assert data.timeouts.nonzero().flatten().tolist() == [19, 39, 59]
    assert not data.terminals.any()
    assert (data.low.tolist(), data.high.tolist()) == ([-2.0], [2.0])
    assert (data.keys, data.shapes, data.reference) == (None, ((3,),), None)
    again = gym.make(gym.envs.registration.EnvSpec.from_json(data.environment))
    assert again.spec.id == "Pendulum-v1"
    assert again.spec.max_episode_steps == 20


def test_pointmaze_is_flattened_without_its_achieved_goal():
    import gymnasium_robotics

    gym.register_envs(gymnasium_robotics)
    env = gym.make("PointMaze_UMaze-v3", max_episode_steps=6)
    episodes = [walk(env, 10, seed) for seed in range(2)]
    made("D4RL/pointmaze/tiny-v2", episodes, env)
    data = load("hf://farama-minari/D4RL/pointmaze/tiny-v2")
    assert data.keys == ("observation", "desired_goal")
    assert data.states.shape == (14, 6)
    goals = np.concatenate([np.asarray(e.observations["desired_goal"]) for e in episodes])
    assert torch.equal(data.states[:, 4:], torch.from_numpy(goals.astype(np.float32)))
    assert data.reference is None
    other = load("D4RL/pointmaze/tiny-v2", keys=("achieved_goal", "desired_goal"))
    assert torch.equal(other.states[:, :2], data.states[:, :2])
    assert other.states.shape == (14, 4)


def test_terminals_and_timeouts_are_told_apart():
    env = Corridor()
    both = episode([0.0, 1.0], terminations=[False, True], truncations=[False, True])
    cut = episode([0.0, 1.0], truncations=[False, True])
    open_end = episode([2.0] * 3)
    made("corridor-v0", [walk(env, 9, move=[1.5]), both, cut, open_end], env)
    data = load("corridor-v0")
    assert data.lengths.tolist() == [2, 2, 2, 3]
    assert data.terminals.nonzero().flatten().tolist() == [1, 3]
    assert data.timeouts.nonzero().flatten().tolist() == [5, 8]
    assert data.environment is None
    # The last state of the walk is where it ended.
    assert data.states[2, 0] == 3.0


def test_a_flag_inside_an_episode_ends_one_there():
    flags = [False, True, False, False]
    made(
        "a-v0",
        [episode(range(4), truncations=flags), episode(range(4), terminations=flags)],
        Corridor(),
    )
    data = load("a-v0")
    assert data.lengths.tolist() == [2, 2, 2, 2]
    assert data.terminals.nonzero().flatten().tolist() == [5]
    assert data.timeouts.nonzero().flatten().tolist() == [1, 3, 7]
    # The state of the cut is the last of one and the first of the next.
    assert torch.equal(data.states[2], data.states[3])
    assert data.states[:, 0].tolist() == [0, 2, 4, 4, 6, 8] * 2


def test_infinite_bounds_are_those_of_the_data():
    space = gym.spaces.Box(-np.inf, np.inf, (1,))
    made("a-v0", [episode(range(3)), episode(range(3))], Corridor(), action_space=space)
    data = load("a-v0")
    assert (data.low.item(), data.high.item()) == (0.0, pytest.approx(0.2))


def test_references_come_from_the_data_set_or_d4rl():
    episodes = [episode(range(3)), episode(range(3))]
    own = {"ref_min_score": -3.0, "ref_max_score": 9.0}
    made("mujoco/hopper/expert-v0", episodes, Corridor(), **own, eval_env="Pendulum-v1")
    made("mujoco/hopper/medium-v0", episodes, Corridor())
    data = load("mujoco/hopper/expert-v0")
    assert data.reference == (-3.0, 9.0)
    assert json.loads(data.environment)["id"] == "Pendulum-v1"
    assert load("mujoco/hopper/medium-v0").reference == (-20.27, 3234.3)


def test_kept_data_are_used_without_opening_the_episodes(root, tmp_path):
    made("a-v0", [episode(range(3)), episode(range(5))], Corridor())
    first = load("a-v0")
    assert (root / ".guided" / "a-v0.safetensors").is_file()
    assert list(minari.list_local_datasets()) == ["a-v0"]
    # Episodes that nobody can read, of the same size and date.
    main = root / "a-v0" / "data" / "main_data.hdf5"
    stat = main.stat()
    main.write_bytes(bytes(stat.st_size))
    os.utime(main, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    again = load("a-v0")
    for name, value in vars(first).items():
        same = getattr(again, name)
        assert torch.equal(same, value) if isinstance(value, torch.Tensor) else same == value
    with pytest.raises(ValueError, match=r"episodes in .*a-v0.* cannot be read \(.*again"):
        load("a-v0", cache=tmp_path / "other")


def test_a_changed_data_set_is_read_again(root):
    dataset = made("a-v0", [episode(range(3)), episode(range(5))], Corridor())
    assert len(load("a-v0")) == 8
    dataset.update_dataset_from_buffer([episode(range(2))])
    assert len(load("a-v0")) == 10
    kept = root / ".guided" / "a-v0.safetensors"
    kept.write_bytes(kept.read_bytes()[:100])
    assert len(load("a-v0")) == 10


def test_a_data_set_made_anew_is_read_again():
    made("a-v0", [episode([1.0, 2.0]), episode([3.0])], Corridor())
    assert load("a-v0").rewards.tolist() == [1, 2, 3]
    minari.delete_dataset("a-v0")
    made("a-v0", [episode([4.0, 2.0]), episode([3.0])], Corridor())
    assert load("a-v0").rewards.tolist() == [4, 2, 3]


def test_a_data_set_in_arrow_is_read_alike():
    pytest.importorskip("pyarrow")
    made("a-v0", [episode(range(3)), episode(range(5))], Corridor())
    made("b-v0", [episode(range(3)), episode(range(5))], Corridor(), data_format="arrow")
    first, second = load("a-v0"), load("b-v0")
    assert torch.equal(first.states, second.states)
    assert torch.equal(first.rewards, second.rewards)


def test_a_missing_data_set_is_one_sentence_with_the_local_ids(capfd):
    message = r"no Minari data set 'b-v0' in .* \(there: none\); check the id, record it with"
    with pytest.raises(ValueError, match=message):
        load("b-v0")
    made("test/a-v0", [episode(range(3)), episode(range(5))], Corridor())
    for name in ("b-v0", "test/a-v1", "nonsense", "", "hf://b"):
        with pytest.raises(ValueError, match=r"\(there: test/a-v0\)") as caught:
            load_data(name)
        assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_a_failed_download_is_one_sentence(monkeypatch):
    # No such kind of remote store: fails before any network.
    monkeypatch.setenv("MINARI_REMOTE", "nowhere://guided")
    with pytest.raises(ValueError, match=r"^cannot download b-v0: ") as caught:
        load("b-v0", download=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("episodes", "options", "message"),
    [
        ([episode([0.0, 1.0])], {}, "a-v0 has 1 episode, training needs 2"),
        ([], {}, "a-v0 is empty: it has no transition"),
        ([episode([0.0]), episode([np.nan])], {}, "a-v0 has rewards that are NaN .* episode 1;"),
        (
            [episode([0.0]), episode([0.0], states=np.array([[0, 1], [np.inf, 0]]))],
            {},
            "a-v0 has observations that are NaN or infinite in 1 steps",
        ),
        (
            [episode([0.0], actions=[np.full(1, np.nan, np.float32)])] * 2,
            {},
            "a-v0 has actions that are NaN .* 2 steps, the first in episode 0",
        ),
        (
            [episode([0.0], actions=[1])] * 2,
            {"action_space": gym.spaces.Discrete(3)},
            r"a-v0 has actions from Discrete\(3\), expected a Box of one axis",
        ),
        (
            [episode([0.0], observations=[0, 1])] * 2,
            {"observation_space": gym.spaces.Discrete(3)},
            "observations must be Box spaces",
        ),
        (
            [episode([0.0], observations=[np.zeros(2)] * 3)] * 2,
            {},
            "episode 0 of a-v0 has 3 observations, 1 actions and 1 rewards",
        ),
    ],
)
def test_data_that_cannot_be_trained_on_are_refused(root, episodes, options, message):
    made("a-v0", episodes, **(HALF | options))
    with pytest.raises(ValueError, match=message) as caught:
        load("a-v0")
    assert "\n" not in str(caught.value)
    assert not (root / ".guided" / "a-v0.safetensors").exists()


def test_damaged_folders_are_refused(root):
    made("a-v0", [episode(range(3)), episode(range(5))], Corridor())
    folder = root / "a-v0" / "data"
    (folder / "main_data.hdf5").unlink()
    with pytest.raises(ValueError, match=r"Minari cannot open a-v0 in .*No data found"):
        load("a-v0")
    (folder / "metadata.json").write_text("{")
    with pytest.raises(ValueError, match=r"metadata.json cannot be read .*download the data again"):
        load("a-v0")
    (folder / "metadata.json").write_text("[]")
    with pytest.raises(ValueError, match=r"metadata.json cannot be read \(no JSON object\)"):
        load("a-v0")


def test_a_cache_that_cannot_be_written_is_refused(tmp_path):
    made("a-v0", [episode(range(3)), episode(range(5))], Corridor())
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ValueError, match=r"cannot write .*a-v0\.safetensors"):
        load("a-v0", cache=Path(file))
