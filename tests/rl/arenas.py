"""Small environments and policies with known results."""

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict

REACH = 5.0


class Walk(gymnasium.Env):
    """A walk on the line from a random start below 1, until it has gone 5 to the right.

    The reward of a step is the step. Steps after the end raise, as they must not happen.
    """

    def __init__(self, success=None, steps_seen=None):
        self.observation_space = Dict({"x": Box(-np.inf, np.inf, (1,), np.float64)})
        self.action_space = Box(-np.inf, np.inf, (1,), np.float64)
        self.success = success
        self.steps_seen = [] if steps_seen is None else steps_seen

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.start = self.x = self.np_random.uniform()
        self.over = False
        return self._see(), {}

    def step(self, action):
        assert not self.over
        self.steps_seen.append(float(action[0]))
        self.x += float(action[0])
        self.over = self.x >= REACH
        info = {} if self.success is None else {self.success: self.over}
        return self._see(), float(action[0]), self.over, False, info

    def _see(self):
        return {"x": np.array([self.x])}


class Noisy:
    """Steps of ``pace`` (a number, or one a row) and some noise of each row's own stream."""

    def __init__(self, noise=0.3, pace=0.5):
        self.noise, self.pace = noise, pace
        self.rows = []

    def act(self, obs, *, deterministic=False, rng=None, pace=None):
        x = obs["x"] if isinstance(obs, dict) else obs
        self.rows.append(len(x))
        pace = np.broadcast_to(self.pace if pace is None else pace, len(x))[:, None]
        if deterministic:
            return pace.copy()
        return pace + self.noise * rng.normal((len(x), 1)).double().numpy()


def limited_walk(steps=40, **options):
    return gymnasium.wrappers.TimeLimit(Walk(**options), steps)


def point_maze(steps=20, **options):
    import gymnasium_robotics

    gymnasium.register_envs(gymnasium_robotics)
    return gymnasium.make("PointMaze_UMaze-v3", max_episode_steps=steps, **options)


class Seeker:
    """Pushes towards the goal of a PointMaze, with noise."""

    def act(self, obs, *, deterministic=False, rng=None):
        push = obs["desired_goal"] - obs["achieved_goal"] - 0.5 * obs["observation"][:, 2:]
        noise = 0.0 if deterministic else 0.2 * rng.normal(push.shape).numpy()
        return push + noise
