"""The point robot: its steps by hand, its costs, its starts, and Gymnasium's contract."""

import subprocess
import sys
import warnings

import numpy as np
import pytest

gymnasium = pytest.importorskip("gymnasium")

from gymnasium.utils.env_checker import check_env  # noqa: E402

from domains.rl.environments import make  # noqa: E402
from domains.rl.safe import PointRobot, margin, observe, register, step_states  # noqa: E402

ID = "guided/PointRobot-v0"
EAST = [-1.8, 0.0, 2.0, 0.0]

REGISTERED = """
import warnings
warnings.simplefilter("error")
from domains.rl.environments import make
make("guided/PointRobot-v0")
print(make("guided/PointRobot-v0").spec.max_episode_steps)
"""


def test_a_step_is_eulers() -> None:
    state, action = np.array([1.0, -2.0, 1.5, np.pi / 6]), np.array([0.4, -0.6])
    expected = [
        1.0 + 0.05 * 1.5 * np.sqrt(3) / 2,
        -2.0 + 0.05 * 1.5 / 2,
        1.5 + 0.05 * 0.4,
        np.pi / 6 - 0.05 * 0.6,
    ]
    np.testing.assert_allclose(step_states(state, action), expected, rtol=1e-12)
    np.testing.assert_allclose(
        step_states(state, np.array([7.0, -9.0])), step_states(state, np.array([1.0, -1.0]))
    )


def test_batches_of_any_shape_step_and_look_as_their_rows_do() -> None:
    rng = np.random.default_rng(0)
    states, actions = rng.uniform(-3, 3, (2, 5, 4)), rng.uniform(-1, 1, (2, 5, 2))
    stepped, seen, h = step_states(states, actions), observe(states), margin(states)
    assert stepped.shape == (2, 5, 4) and seen.shape == (2, 5, 11) and h.shape == (2, 5)
    for row in np.ndindex(2, 5):
        np.testing.assert_array_equal(stepped[row], step_states(states[row], actions[row]))
        np.testing.assert_array_equal(seen[row], observe(states[row]))
        assert h[row] == margin(states[row])


def test_a_backward_robot_is_one_that_faces_the_other_way() -> None:
    rng = np.random.default_rng(0)
    states, actions = rng.uniform(-2, 2, (20, 4)), rng.uniform(-1, 1, (20, 2))
    mirror = np.array([1, 1, -1, 1]), np.array([0, 0, 0, np.pi])
    there = step_states(states * mirror[0] + mirror[1], actions * [-1, 1])
    np.testing.assert_allclose(
        there, step_states(states, actions) * mirror[0] + mirror[1], atol=1e-12
    )


def test_the_observation_looks_from_the_heading() -> None:
    # 1 m south of the first hazard's centre, heading east: it is to the left.
    seen = observe(np.array([0.4, -2.2, 0.7, 0.0]))
    second = np.array([-0.8, 3.4]) / np.hypot(0.8, 3.4)
    expected = [0.4, -2.2, 0.7, 1, 0, 1, 0, 1, np.hypot(0.8, 3.4), *second]
    np.testing.assert_allclose(seen, expected, atol=1e-6)
    turned = observe(np.array([0.4, -2.2, 0.7, np.pi / 2]))
    ahead, left = second[1], -second[0]
    expected = [0, 1, 1, 1, 0, np.hypot(0.8, 3.4), ahead, left]
    np.testing.assert_allclose(turned[3:], expected, atol=1e-6)
    assert seen.dtype == np.float32
    assert np.isfinite(observe(np.array([0.4, -1.2, 0.0, 1.0]))).all()  # on the centre


def test_cost_is_1_inside_a_hazard_and_the_margin_says_how_far() -> None:
    env = PointRobot()
    _, info = env.reset(options={"state": [-0.5, -1.2, 1.0, 0.0]})  # 0.1 m from its rim
    assert info == {"cost": 0.0, "margin": pytest.approx(-0.1)}
    infos = [env.step([0.0, 0.0])[4] for _ in range(3)]
    assert [info["cost"] for info in infos] == [0.0, 0.0, 1.0]  # on its rim it is not inside
    assert infos[2]["margin"] == pytest.approx(0.05)
    _, info = env.reset(options={"state": [0.4, -1.2, 1.0, 0.0]})
    assert info == {"cost": 1.0, "margin": pytest.approx(0.8)}


def test_rewards_add_up_to_the_way_gone_and_1_for_the_goal() -> None:
    env = PointRobot()
    env.reset(options={"state": [1.0, 2.2, 2.0, 0.0]})
    rewards, terminated = [], False
    while not terminated:
        _, reward, terminated, truncated, _ = env.step([0.0, 0.0])
        rewards.append(reward)
    assert len(rewards) == 9 and not truncated  # 0.1 m a step, 1.2 m to go, 0.3 m of it spared
    assert sum(rewards) == pytest.approx(0.9 + 1)
    assert sum(rewards[:-1]) == pytest.approx(0.8)


def test_outside_the_box_is_the_end() -> None:
    env = PointRobot()
    for theta in (0.0, np.pi):
        env.reset(options={"state": [2.95 * np.cos(theta), -2.0, 2.0, theta]})
        _, reward, terminated, truncated, info = env.step([0.0, 0.0])
        assert terminated and not truncated and info["cost"] == 0.0
        assert abs(reward) < 0.1  # nothing is added for it


def test_gymnasiums_contract_holds() -> None:
    env = make(ID)
    with pytest.warns(UserWarning, match="infinity"):  # places and speeds have no bounds
        check_env(env.unwrapped)
    assert env.spec.max_episode_steps == 300
    env.reset(options={"state": [0.0, 0.0, 0.0, 0.0]})
    steps = [env.step(np.zeros(2, np.float32)) for _ in range(300)]
    assert [step[3] for step in steps] == [False] * 299 + [True]


def test_equal_seeds_give_equal_episodes() -> None:
    def episode(seed: int) -> np.ndarray:
        env = make(ID)
        env.action_space.seed(seed)
        seen = [env.reset(seed=seed)[0]]
        for _ in range(5):
            seen.append(env.step(env.action_space.sample())[0])
        return np.array([*seen, env.reset()[0]])

    np.testing.assert_array_equal(episode(3), episode(3))
    assert (episode(3)[0] != episode(4)[0]).any()


def test_starts_are_where_they_should_be() -> None:
    env = PointRobot()
    env.reset(seed=0)
    states = np.array([(env.reset(), env.state)[1] for _ in range(500)])
    assert (np.abs(states[:, :2]) <= 3).all() and np.abs(states[:, :2]).max() > 2.9
    assert states[:, 2].min() >= 0.5 and states[:, 2].max() <= 2.0
    assert states[:, 3].min() >= np.pi / 4 and states[:, 3].max() <= 3 * np.pi / 4


def test_an_episode_starts_where_it_is_told() -> None:
    env = make(ID)
    observation, _ = env.reset(seed=1, options={"state": EAST})
    np.testing.assert_array_equal(observation, observe(np.array(EAST)))
    np.testing.assert_array_equal(env.unwrapped.state, EAST)
    env.step(np.ones(2, np.float32))
    assert EAST == [-1.8, 0.0, 2.0, 0.0]  # what was given is not written to


@pytest.mark.parametrize(
    "state", [[1.0, 2.0, 3.0], [[0.0] * 4], [0.0, 0.0, np.nan, 0.0], "here", [0.0, 0.0, None, 0.0]]
)
def test_a_start_that_is_none_is_refused(state: object) -> None:
    with pytest.raises(ValueError, match="give 4 finite numbers") as caught:
        PointRobot().reset(options={"state": state})
    assert len(str(caught.value).splitlines()) == 1


def test_other_options_and_actions_are_refused() -> None:
    env = PointRobot()
    with pytest.raises(ValueError, match=r"options \['stat'\]"):
        env.reset(options={"stat": EAST})
    env.reset(seed=0)
    for action in ([0.0], [np.nan, 0.0], [[0.0, 0.0]]):
        with pytest.raises(ValueError, match="give 2 finite numbers"):
            env.step(action)


def test_it_is_registered_without_a_word() -> None:
    done = subprocess.run(
        [sys.executable, "-c", REGISTERED], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("300\n", "")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        register()  # a second time: importing the package did it first
        assert isinstance(gymnasium.make(ID).unwrapped, PointRobot)
