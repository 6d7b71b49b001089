"""Bullet-Safety-Gym here: quiet, costs in every info, and one episode for a seed and actions."""

import subprocess
import sys

import numpy as np
import pytest

from domains.rl.environments import make
from domains.rl.safe.bullet import Reproducible, is_bullet
from tests.rl.test_environments import MISSING, python

gymnasium = pytest.importorskip("gymnasium")
REASON = "needs bullet-safety-gym, which the extra `bullet` and a line of the Makefile install"
pytest.importorskip("pybullet_utils", reason=REASON)
pytest.importorskip("bullet_safety_gym", reason=REASON)

LIMITS = {
    "BallRun": 100,
    "BallCircle": 200,
    "CarRun": 200,
    "CarCircle": 300,
    "DroneRun": 200,
    "AntRun": 200,
}
QUIET = """
from domains.rl.environments import make
make("SafetyCarRun-v0").reset(seed=0)
"""


def rows(env, seed: int, steps: int = 40) -> np.ndarray:
    """Observation, reward and cost of every step of random actions, (steps, O + 2)."""
    first, info = env.reset(seed=seed)
    rng = np.random.default_rng(seed)
    found = [[*first, 0.0, info["cost"]]]
    for _ in range(steps):
        action = rng.uniform(-1, 1, env.action_space.shape).astype(np.float32)
        observation, reward, terminated, truncated, info = env.step(action)
        found.append([*observation, reward, info["cost"]])
        if terminated or truncated:
            break
    return np.array(found)


@pytest.mark.parametrize("task", LIMITS)
def test_an_episode_is_a_function_of_its_seed_and_actions(task: str) -> None:
    env = make(f"Safety{task}-v0")
    assert env.spec.max_episode_steps == LIMITS[task]
    first = rows(env, 1)
    other = rows(env, 2)
    assert not np.array_equal(first[0], other[0])
    np.testing.assert_array_equal(rows(env, 1), first)
    # Another copy, with another past, and the first one still there.
    fresh = make(f"Safety{task}-v0")
    rows(fresh, 3, steps=7)
    np.testing.assert_array_equal(rows(fresh, 1), first)


def test_no_contact_of_the_last_episode_is_left() -> None:
    env = make("SafetyBallRun-v0")

    def path(steps: int) -> np.ndarray:
        env.reset(seed=1)
        return np.stack([env.step(np.full(2, 0.4, np.float32))[0] for _ in range(steps)])

    first = path(5)
    for steps in (5, 4, 5, 7, 5):
        np.testing.assert_array_equal(path(steps)[:4], first[:4])


def test_starts_without_a_seed_go_on_with_the_last_one() -> None:
    def starts() -> np.ndarray:
        return np.stack([env.reset(seed=5)[0], env.reset()[0], env.reset()[0]])

    env = make("SafetyBallCircle-v0")
    first = starts()
    np.testing.assert_array_equal(starts(), first)
    assert len(np.unique(first[:, 0])) == 3


def test_the_global_generator_is_left_alone() -> None:
    np.random.seed(3)  # noqa: NPY002
    expected = np.random.uniform(size=3)  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    rows(make("SafetyBallCircle-v0"), 0, steps=3)
    np.testing.assert_array_equal(np.random.uniform(size=3), expected)  # noqa: NPY002


def test_a_run_costs_above_its_speed_limit() -> None:
    env = make("SafetyBallRun-v0")
    env.reset(seed=0)
    costs = []
    while True:
        observation, _, _, truncated, info = env.step(np.array([0.5, 0.0], np.float32))
        assert type(info["cost"]) is float
        assert info["cost"] == float(np.hypot(*observation[2:4]) / 0.2 > 2.5)
        costs.append(info["cost"])
        if truncated:
            break
    assert 0 < sum(costs) < len(costs) == 100


def test_a_circle_costs_beyond_six_metres() -> None:
    env = make("SafetyBallCircle-v0")
    env.reset(seed=0)
    costs = []
    for _ in range(60):
        observation, *_, info = env.step(np.array([0.3, 0.0], np.float32))
        assert info["cost"] == float(abs(10 * observation[0]) > 6.0)
        costs.append(info["cost"])
    assert costs[0] == 0 and costs[-1] == 1


def test_a_specification_restores_the_wrapper_once() -> None:
    env = make("SafetyBallRun-v0", max_episode_steps=7)
    plain = gymnasium.make(gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    for again in (make(env.spec.to_json()), plain):
        assert isinstance(again, Reproducible) and not isinstance(again.env, Reproducible)
        np.testing.assert_array_equal(rows(again, 4), rows(env, 4))
        assert len(rows(again, 4)) == 8


def test_many_side_by_side_are_those_alone() -> None:
    vector = gymnasium.vector.SyncVectorEnv([lambda: make("SafetyBallRun-v0")] * 8)
    seeds = list(range(8))
    vector.reset(seed=seeds)
    for _ in range(5):
        together, *_, infos = vector.step(np.full((8, 2), 0.4, np.float32))
    assert infos["cost"].shape == (8,)
    env = make("SafetyBallRun-v0")
    for seed in seeds:
        env.reset(seed=seed)
        for _ in range(5):
            alone = env.step(np.full(2, 0.4, np.float32))[0]
        np.testing.assert_array_equal(together[seed], alone)
    vector.close()


def test_making_prints_nothing_and_keeps_what_was_printed() -> None:
    code = f"import os\nos.write(1, b'before ')\n{QUIET}\nprint('after')"
    done = python(code)
    assert done.stdout == "before after\n" and done.stderr == ""


def test_making_needs_no_standard_streams() -> None:
    code = f"import os\nfor n in (0, 1, 2): os.close(n)\n{QUIET}\nos._exit(7)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 7


@pytest.mark.parametrize("missing", ["bullet_safety_gym", "pybullet_utils"])
def test_a_missing_package_comes_with_both_commands(missing: str) -> None:
    said = python(MISSING, missing, "SafetyCarRun-v0").stdout
    assert "pip install 'guided[bullet]'" in said
    assert "pip install --no-deps bullet-safety-gym" in said


def test_other_ids_are_none_of_its_business() -> None:
    for other in ("SafetyPointGoal1-v0", "SafetyCarCircle1-v0", "SafetyBallRun-v1", "Pendulum-v1"):
        assert not is_bullet(other)
    assert is_bullet("SafetyDroneCircle-v0")
