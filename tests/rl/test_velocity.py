"""Runners with a limit of speed: costs, margins, and what stays as it was."""

from math import hypot

import gymnasium
import numpy as np
import pytest

from domains.rl import environments
from domains.rl.collect.behaviour import Uniform
from domains.rl.collect.presets import Preset, Quality
from domains.rl.collect.recorder import Size, record
from domains.rl.data.minari_data import load
from domains.rl.safe import SafeVelocity

pytest.importorskip("mujoco")

# As the velocity tasks of Safety-Gymnasium have them, version 1; only the Ant's speed is planar.
THRESHOLDS = {
    "Ant": 2.6222,
    "HalfCheetah": 3.2096,
    "Hopper": 0.7402,
    "Swimmer": 0.2282,
    "Walker2d": 2.3415,
}


class Sliding(gymnasium.Env):
    """Tells given velocities (x, y) one after another, like MuJoCo's runners."""

    observation_space = action_space = gymnasium.spaces.Box(-1, 1, (1,))

    def __init__(self, *velocities):
        self.velocities = velocities
        self.data = self
        self.qvel = np.array([*velocities[0], 7.0])

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        return np.zeros(1), {"x_position": 0.0}

    def step(self, action):
        self.steps += 1
        x, y = self.velocities[self.steps]
        info = {"x_velocity": x} if y is None else {"x_velocity": x, "y_velocity": y}
        return np.zeros(1), 1.5, False, False, info


def told(env, steps):
    infos = [env.reset()[1], *(env.step(np.zeros(1))[-1] for _ in range(steps))]
    return [info["cost"] for info in infos], [info["margin"] for info in infos]


def test_a_step_faster_than_the_threshold_costs_one():
    velocities = [(3.0, 4.0), (0.5, 9.0), (2.0, 0.0), (2.5, 0.0), (-8.0, 0.0)]
    costs, margins = told(SafeVelocity(Sliding(*velocities), threshold=2.0), 4)
    assert margins == [1.0, -1.5, 0.0, 0.5, -10.0]
    # None in the reset, nor at the threshold itself, nor backwards.
    assert costs == [0.0, 0.0, 0.0, 1.0, 0.0]


def test_a_planar_speed_counts_both_axes():
    velocities = [(3.0, 4.0), (3.0, -4.0), (-3.0, 4.0), (4.9, 0.0), (0.0, 5.5)]
    costs, margins = told(SafeVelocity(Sliding(*velocities), threshold=4.5, planar=True), 4)
    assert margins == pytest.approx([0.5, 0.5, 0.5, 0.4, 1.0])
    assert costs == [0.0, 1.0, 1.0, 1.0, 1.0]


def test_runners_that_tell_no_speed_to_the_side_are_fine():
    costs, margins = told(SafeVelocity(Sliding((0.0, 0.0), (1.0, None)), threshold=0.5), 1)
    assert (costs, margins) == ([0.0, 1.0], [-0.5, 0.5])


@pytest.mark.parametrize("task", THRESHOLDS)
def test_a_runner_is_its_own_but_for_cost_and_margin(task):
    safe = environments.make(f"guided/Safe{task}Velocity-v0")
    plain = gymnasium.make(f"{task}-v5")
    assert safe.spec.max_episode_steps == plain.spec.max_episode_steps == 1000
    (first, info), (same, _) = safe.reset(seed=3), plain.reset(seed=3)
    np.testing.assert_array_equal(first, same)
    forward, aside = plain.unwrapped.data.qvel[:2]
    speed = hypot(forward, aside) if task == "Ant" else forward
    assert info["cost"] == 0.0
    assert info["margin"] == pytest.approx(speed - THRESHOLDS[task], abs=1e-12)
    safe.action_space.seed(0)
    for _ in range(20):
        action = safe.action_space.sample()
        *ours, info = safe.step(action)
        *theirs, plain_info = plain.step(action)
        np.testing.assert_array_equal(ours[0], theirs[0])
        assert ours[1:] == theirs[1:]
        forward = info["x_velocity"]
        speed = hypot(forward, info["y_velocity"]) if task == "Ant" else forward
        assert info["margin"] == pytest.approx(speed - THRESHOLDS[task], abs=1e-12)
        assert info["cost"] == (speed > THRESHOLDS[task])
        assert plain_info.items() <= info.items()
        if ours[2]:
            break


def test_costs_are_not_all_alike():
    env = environments.make("guided/SafeSwimmerVelocity-v0", max_episode_steps=200)
    env.reset(seed=0)
    env.action_space.seed(0)
    costs = {env.step(env.action_space.sample())[-1]["cost"] for _ in range(200)}
    assert costs == {0.0, 1.0}


def test_options_go_to_the_runner_and_the_specification_makes_it_again():
    env = environments.make(
        "guided/SafeHopperVelocity-v0", threshold=1.25, max_episode_steps=5, reset_noise_scale=0.0
    )
    again = environments.make(env.spec.to_json())
    assert again.spec == env.spec
    assert str(again).count("SafeVelocity<") == str(env).count("SafeVelocity<") == 1
    for made in (env, again):
        assert made.reset(seed=0)[1]["margin"] == -1.25
        made.action_space.seed(0)
        cuts = [made.step(made.action_space.sample())[3] for _ in range(5)]
        assert cuts == [False] * 4 + [True]


def test_recorded_runs_have_costs_and_margins(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    options = {"max_episode_steps": 60}
    random = (Quality("random", Uniform()),)
    preset = Preset("guided/SafeSwimmerVelocity-v0", random, Uniform(), 1, options)
    record(preset, "guided/swimmer-v0", Size(1, 3), reference_episodes=1)
    data = load("guided/swimmer-v0")
    assert data.lengths.tolist() == [60] * 3
    np.testing.assert_array_equal(data.costs > 0, data.margins[data.at + 1] > 0)
    assert 0 < data.costs.sum() < 180
    env = environments.make(data.environment)
    assert str(env).count("SafeVelocity<") == 1


def test_mistakes_are_one_sentence():
    for options, message in (
        ({"threshold": 0.0}, "a threshold of speed must be positive, got 0.0 m/s"),
        ({"threshold": float("nan")}, "must be positive, got nan"),
        ({"task": "Humanoid"}, "no limit of speed for 'Humanoid'; choose one of Ant, HalfCh"),
        ({"wings": 2}, "unexpected keyword argument 'wings'"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            environments.make("guided/SafeAntVelocity-v0", **options)
        assert "\n" not in str(caught.value)
