"""Real episodes of small environments, and Minari data sets made of them."""

import warnings

import gymnasium as gym
import minari
import numpy as np
from minari.data_collector import EpisodeBuffer


class Corridor(gym.Env):
    """A walk on a line whose first half ends (a terminal) at 3."""

    observation_space = gym.spaces.Box(-10, 10, (2,), np.float64)
    action_space = gym.spaces.Box(-1, 2, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = np.array([0.0, self.np_random.normal()])
        return self.x.copy(), {}

    def step(self, action):
        self.x[0] += action[0]
        return self.x.copy(), float(self.x[0]), bool(self.x[0] >= 3), False, {}


def walk(env, steps, seed=0, move=None):
    """One episode of at most so many steps; ``move`` is the action, None a random one."""
    observation, _ = env.reset(seed=seed)
    env.action_space.seed(seed)
    observations, actions, rewards, terminations, truncations = [observation], [], [], [], []
    for _ in range(steps):
        action = env.action_space.sample() if move is None else np.asarray(move, np.float32)
        observation, reward, terminated, truncated, _ = env.step(action)
        observations.append(observation)
        actions.append(action)
        rewards.append(reward)
        terminations.append(terminated)
        truncations.append(truncated)
        if terminated or truncated:
            break
    if isinstance(observation, dict):
        observations = {k: [o[k] for o in observations] for k in observation}
    return EpisodeBuffer(
        observations=observations,
        actions=actions,
        rewards=rewards,
        terminations=terminations,
        truncations=truncations,
    )


def made(name, episodes, env=None, **options):
    """Write a Minari data set where MINARI_DATASETS_PATH says."""
    if env is not None and env.spec is None:
        options |= {
            "observation_space": options.get("observation_space", env.observation_space),
            "action_space": options.get("action_space", env.action_space),
        }
        env = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Minari misses authors and such
        return minari.create_dataset_from_buffers(name, episodes, env=env, **options)


def episode(rewards, states=None, **changes):
    """A made-up episode of a Corridor whose last step is neither terminated nor truncated."""
    count = len(rewards)
    states = np.arange(2.0 * (count + 1)).reshape(-1, 2) if states is None else states
    parts = {
        "observations": list(states),
        "actions": [np.full(1, 0.1 * i, np.float32) for i in range(count)],
        "rewards": list(rewards),
        "terminations": [False] * count,
        "truncations": [False] * count,
    }
    return EpisodeBuffer(**(parts | changes))
