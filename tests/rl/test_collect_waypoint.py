"""The controller of point mazes: shortest paths by another algorithm, and goals that it reaches."""

import itertools

import numpy as np
import pytest
from scipy.sparse.csgraph import shortest_path

from domains.rl import environments
from domains.rl.collect.presets import GOOD, PRESETS, WEAK
from domains.rl.collect.waypoint import Waypoint, neighbours, routes

pytest.importorskip("gymnasium_robotics")

MAZES = ("umaze", "medium", "large")


def made(maze: str):
    preset = PRESETS[f"pointmaze/{maze}-good"]
    return environments.make(preset.environment, **preset.options)


def drive(env, behaviour: Waypoint, seed: int) -> tuple[bool, int]:
    observation, _ = env.reset(seed=seed)
    actor = behaviour.start(env, np.random.default_rng(seed))
    for step in itertools.count(1):
        action = actor.act(observation)
        assert env.action_space.contains(action)
        observation, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            return terminated, step
    raise AssertionError


@pytest.mark.parametrize("maze", MAZES)
def test_the_good_controller_reaches_the_goal_from_twenty_starts(maze: str) -> None:
    env = made(maze)
    assert all(drive(env, GOOD, seed)[0] for seed in range(20))


def test_qualities_differ_in_success_and_in_steps() -> None:
    env = made("umaze")
    good, weak = ([drive(env, b, seed) for seed in range(40)] for b in (GOOD, WEAK))
    assert np.mean([steps for _, steps in good]) < 80
    assert np.mean([steps for _, steps in weak]) > 150
    assert 0.2 < np.mean([success for success, _ in weak]) < 0.85


@pytest.mark.parametrize("maze", MAZES)
def test_routes_are_shortest(maze: str) -> None:
    grid = made(maze).unwrapped.maze.maze_map
    free = [(i, j) for i, row in enumerate(grid) for j, wall in enumerate(row) if wall != 1]
    beside = [[abs(a - c) + abs(b - d) == 1 for c, d in free] for a, b in free]
    hops = shortest_path(np.array(beside, dtype=float), unweighted=True)
    for goal in free:
        following = routes(grid, goal)
        assert set(following) == set(free)
        for cell, after in following.items():
            done = cell == goal
            expected = hops[free.index(cell), free.index(goal)] - (0 if done else 1)
            assert hops[free.index(after), free.index(goal)] == expected


def test_the_rim_counts_as_a_wall() -> None:
    assert sorted(neighbours([[0, 0], [0, 1]], (0, 0))) == [(0, 1), (1, 0)]


def test_noise_has_the_stated_spread_and_persistence() -> None:
    # Without pull and brake the force is the noise alone, too small to be clipped.
    behaviour = Waypoint((0.0, 0.0), (0.0, 0.0), (0.2, 0.2), persistence=0.9)
    env = made("umaze")
    observation, _ = env.reset(seed=0)
    actor = behaviour.start(env, np.random.default_rng(0))
    forces = np.stack([actor.act(observation) for _ in range(20_000)])
    assert forces.std() == pytest.approx(0.2, rel=0.05)
    correlation = np.mean(forces[1:] * forces[:-1]) / np.mean(forces**2)
    assert correlation == pytest.approx(0.9, abs=0.02)
