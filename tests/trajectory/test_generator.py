"""The built-in scenes: physics, closed forms, maps and seeds."""

from functools import cache

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from domains.trajectory.generator import GENERATED, generate, idm, scenes
from domains.trajectory.generator.clock import Clock
from domains.trajectory.generator.idm import Drivers
from domains.trajectory.generator.lane_change import gains
from domains.trajectory.generator.social_force import SocialForce
from domains.trajectory.generator.walkers import Walkers
from domains.trajectory.generator.walkers import drawn as draw_walkers

DRIVEN = ("highway", "crossing")


@cache
def fine(kind):
    """Scenes of a kind, seen every 0.1 s."""
    return [generate(kind, seed, steps=106, dt=0.1, now=45) for seed in range(25)]


def seen(scene):
    return np.where(scene.valid[..., None], scene.positions, np.nan)


def cars(scene):
    return np.array([kind == "vehicle" for kind in scene.kinds])


def inside(polygon, points):
    """Return which points lie in a polygon, by the number of its edges to their right."""
    first, last = polygon, np.roll(polygon, -1, axis=0)
    x, y = points[:, None, 0], points[:, None, 1]
    spans = (first[:, 1] > y) != (last[:, 1] > y)
    with np.errstate(divide="ignore", invalid="ignore"):
        at = first[:, 0] + (y - first[:, 1]) / (last[:, 1] - first[:, 1]) * (last - first)[:, 0]
    return (spans & (at > x)).sum(-1) % 2 == 1


def drivers(count, **changes):
    values = {"desired": 30.0, "headway": 1.5, "gap": 2.0, "push": 1.4, "brake": 2.0, "lengths": 5}
    return Drivers(**{k: np.full(count, float(v)) for k, v in (values | changes).items()})


@pytest.mark.parametrize("kind", GENERATED)
def test_same_seed_same_scene(kind):
    one, same, other = generate(kind, 3), generate(kind, 3), generate(kind, 4)
    assert one.name == same.name and one.ids == same.ids
    np.testing.assert_array_equal(one.positions, same.positions)
    np.testing.assert_array_equal(one.headings, same.headings)
    assert other.positions.shape != one.positions.shape or not np.array_equal(
        one.positions, other.positions
    )


def test_default_scene():
    for scene in scenes("mixed", 20, seed=1):
        assert (scene.valid.shape[1], scene.now, scene.dt, scene.horizon) == (22, 9, 0.5, 12)
        assert 2 <= scene.present.sum() <= 12
        assert scene.ids == tuple(str(i) for i in range(scene.agents))
        assert scene.valid.any(1).all()


def test_a_stream_does_not_depend_on_count():
    few, many = list(scenes("mixed", 2, seed=7)), list(scenes("mixed", 5, seed=7))
    tail = list(scenes("mixed", 2, seed=7, first=3))
    for one, same in zip(few + tail, many[:2] + many[3:], strict=True):
        assert one.name == same.name
        np.testing.assert_array_equal(one.positions, same.positions)
    assert len({scene.name for scene in many}) == 5


def test_mixed_has_all_kinds():
    assert {s.name.split("-")[0] for s in scenes("mixed", 30)} == {"highway", "crossing", "plaza"}


@pytest.mark.parametrize("kind", DRIVEN)
def test_cars_obey_physics(kind):
    for scene in fine(kind):
        moves = np.diff(seen(scene)[cars(scene)], axis=1)
        speeds = np.linalg.norm(moves, axis=-1) / scene.dt
        pushes = np.diff(speeds, axis=1) / scene.dt
        assert np.nanmax(speeds) < {"highway": 37, "crossing": 14.5}[kind]
        assert np.nanmax(np.abs(pushes)) < 6.5
        assert np.nanmax(np.linalg.norm(np.diff(moves, axis=1), axis=-1)) / scene.dt**2 < 7.5


@pytest.mark.parametrize("kind", DRIVEN)
def test_cars_do_not_collide(kind):
    for scene in fine(kind):
        points = seen(scene)[cars(scene)].transpose(1, 0, 2)
        for now in points:
            apart = cdist(now, now) + np.diag(np.full(len(now), np.inf))
            assert np.nan_to_num(apart, nan=np.inf).min() > 2.0


@pytest.mark.parametrize("kind", DRIVEN)
def test_cars_stay_on_lanes_and_point_ahead(kind):
    on, total = 0, 0
    for scene in fine(kind):
        driven = cars(scene)
        points = scene.positions[driven][scene.valid[driven]]
        on += np.any([inside(x.outline, points) for x in scene.road.lanes], axis=0).sum()
        total += len(points)
        moves = np.diff(seen(scene)[driven], axis=1)
        way = np.arctan2(moves[..., 1], moves[..., 0]) - scene.headings[driven][:, :-1]
        fast = np.linalg.norm(moves, axis=-1) > 0.1
        assert np.abs(np.angle(np.exp(1j * way[fast]))).max() < 0.2
    assert on / total > 0.98


def test_lanes_follow_each_other():
    for scene in fine("highway")[:8] + fine("crossing")[:8]:
        known = {lane.id: lane for lane in scene.road.lanes}
        assert any(lane.successors for lane in known.values())
        for lane in known.values():
            for id in lane.successors:
                assert lane.id in known[id].predecessors
                np.testing.assert_allclose(lane.centre[-1], known[id].centre[0], atol=0.1)
            for id in lane.neighbours:
                assert lane.id in known[id].neighbours
            aside = lane.left[1] - lane.right[1]
            ahead = lane.centre[2] - lane.centre[0]
            assert ahead[0] * aside[1] - ahead[1] * aside[0] > 0


def test_people_walk_and_keep_apart():
    near = []
    for scene in fine("plaza"):
        points = seen(scene)
        speeds = np.linalg.norm(np.diff(points, axis=1), axis=-1) / scene.dt
        assert np.nanmax(speeds) < 1.3 * 1.9 + 1e-6
        assert 0.4 < np.nanmedian(speeds) < 2.0
        assert scene.road.walls and not scene.road.lanes
        for now in points.transpose(1, 0, 2):
            apart = cdist(now, now) + np.diag(np.full(len(now), np.inf))
            near.append(np.nan_to_num(apart, nan=np.inf).min())
    assert np.mean(np.array(near) < 0.25) < 0.01


def test_nobody_walks_through_a_wall():
    for scene in fine("plaza"):
        for wall in scene.road.walls:
            first, last = wall[:-1], wall[1:]
            for a in range(scene.agents):
                path = scene.positions[a, scene.valid[a]]
                assert not _crosses(path[:-1], path[1:], first, last).any()


def _crosses(a, b, c, d):
    def side(p, q, r):
        u, v = q - p, r - p
        return np.sign(u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0])

    a, b, c, d = a[:, None], b[:, None], c[None], d[None]
    return (side(a, b, c) * side(a, b, d) < 0) & (side(c, d, a) * side(c, d, b) < 0)


def test_some_scenes_are_seen_in_part():
    partly = [not scene.valid.all() for kind in GENERATED[:3] for scene in fine(kind)]
    assert 0.05 < np.mean(partly) < 0.6


def test_futures_of_turns_differ():
    """A constant velocity does not foretell a crossing: metres off after 6 s."""
    errors = []
    for scene in fine("crossing"):
        last = scene.valid[:, -1] & scene.present & cars(scene)
        guess = scene.positions[:, scene.now] + scene.velocities() * scene.dt * scene.horizon
        errors += list(np.linalg.norm(guess - scene.positions[:, -1], axis=-1)[last])
    assert np.median(errors) > 5


def test_followers_reach_the_gap_of_equilibrium():
    pair, tick = drivers(2, desired=30.0), 0.1
    ways, speeds = np.array([100.0, 0.0]), np.array([15.0, 20.0])
    for _ in range(3000):
        gaps = np.array([idm.FREE, ways[0] - ways[1] - 5.0])
        closing = np.array([0.0, speeds[1] - speeds[0]])
        push = pair.free(speeds, pair.desired) + pair.interaction(speeds, gaps, closing)
        push[0] = 0.0
        ways, speeds = idm.advance(ways, speeds, push, tick)
    expected = (2.0 + 15.0 * 1.5) / np.sqrt(1 - (15 / 30) ** 4)
    np.testing.assert_allclose(speeds[1], 15.0, atol=1e-3)
    np.testing.assert_allclose(ways[0] - ways[1] - 5.0, expected, rtol=1e-3)
    np.testing.assert_allclose(pair.equilibrium_gap(np.full(2, 15.0)), expected)


def test_free_road_and_standing_start():
    lone = drivers(1)
    np.testing.assert_allclose(lone.free(np.array([0.0]), lone.desired), 1.4)
    np.testing.assert_allclose(lone.free(np.array([30.0]), lone.desired), 0.0, atol=1e-12)
    too_fast = lone.free(np.array([40.0]), lone.desired)
    np.testing.assert_allclose(too_fast, -2.0 * (1 - (30 / 40) ** (1.4 * 4 / 2.0)))
    np.testing.assert_array_equal(
        idm.advance(np.zeros(1), np.array([0.3]), np.array([-50.0]), 0.1)[1], 0.0
    )


def test_lane_changes_pay_and_are_safe():
    """Behind a slow car the free lane beside is worth the braking; with one close behind it isn't.

    By hand: a_c = -1.4 ((2 + 20 * 1.5 + 20 * 10 / (2 sqrt(2.8))) / 25)^2 from the slow car ahead,
    0 on the free lane, and nobody else is affected but by c himself.
    """
    three, lane = drivers(3), np.array([0, 0, 1])
    ways, speeds = np.array([0.0, 30.0, -300.0]), np.array([20.0, 10.0, 20.0])
    on = lane[:, None] == np.arange(2)
    gain = gains(three, ways, speeds, on, lane, 1 - lane)
    wanted = 2 + 20 * 1.5 + 20 * 10 / (2 * np.sqrt(1.4 * 2.0))
    follower = -1.4 * ((2 + 20 * 1.5) / 295) ** 2
    np.testing.assert_allclose(gain[0], 1.4 * (wanted / 25) ** 2 + 0.3 * follower)
    close = gains(three, np.array([0.0, 30.0, -9.0]), speeds, on, lane, 1 - lane)
    assert close[0] == -np.inf


def test_a_lone_walker_relaxes_to_the_desired_speed():
    """v(t) = v0 (1 - exp(-t / tau)) from rest."""
    model, goal, tick = SocialForce(), np.array([[0.6, 0.8]]), 0.1
    velocity, nobody = np.zeros((1, 2)), np.zeros((0, 2, 2))
    for step in range(1, 21):
        forces = model.forces(np.zeros((1, 2)), velocity, goal, nobody, np.zeros(1))
        velocity = model.step(velocity, goal, np.array([1.34]), forces, tick)
        expected = 1.34 * (1 - np.exp(-step * tick / 0.5))
        np.testing.assert_allclose(velocity, expected * goal, rtol=1e-9)


def test_repulsion_is_the_gradient_of_its_potential():
    """V = V0 exp(-b / sigma), 2 b = sqrt((|r| + |r - s|)^2 - |s|^2), s = v Dt, by differences."""
    model = SocialForce(behind=1.0, cohesion=0.0, stiffness=0.0)
    at, velocities = np.array([[0.0, 0.0], [0.9, 0.4]]), np.array([[1.0, 0.0], [-1.1, 0.3]])

    def potential(point):
        apart, stride = point - at[1], 2.0 * velocities[1]
        both = np.linalg.norm(apart) + np.linalg.norm(apart - stride)
        return 2.1 * np.exp(-np.sqrt(both**2 - stride @ stride) / 2 / 0.3)

    moves = 1e-5 * np.eye(2)
    expected = [-(potential(at[0] + m) - potential(at[0] - m)) / 2e-5 for m in moves]
    goals = velocities / np.linalg.norm(velocities, axis=-1, keepdims=True)
    got = model.forces(at, velocities, goals, np.zeros((0, 2, 2)), np.arange(2))
    np.testing.assert_allclose(got[0], expected, rtol=1e-4)
    half = SocialForce(behind=0.5, cohesion=0.0, stiffness=0.0)
    goals[0] = expected / np.linalg.norm(expected)
    away = half.forces(at, velocities, goals, np.zeros((0, 2, 2)), np.arange(2))
    np.testing.assert_allclose(away[0], 0.5 * np.array(expected), rtol=1e-4)


def test_walls_push_straight_away():
    """U = U0 exp(-r / R): the force at r is U0 / R exp(-r / R)."""
    wall, at = np.array([[[0.0, 0.0], [10.0, 0.0]]]), np.array([[5.0, 0.4]])
    got = SocialForce().forces(at, np.zeros((1, 2)), np.array([[1.0, 0.0]]), wall, np.zeros(1))
    np.testing.assert_allclose(got, [[0.0, 10 / 0.2 * np.exp(-0.4 / 0.2)]], rtol=1e-4, atol=1e-9)


def test_walkers_wait_at_the_kerb_until_they_may():
    from domains.trajectory.generator import junction as junctions

    rng = np.random.default_rng(0)
    walkers: Walkers = draw_walkers(rng, junctions.drawn(rng), 3, present=4.0)
    kerb = walkers.junction.lanes * junctions.WIDTH
    for _ in range(200):
        walkers.step(0.1, np.zeros(3, bool))
    assert (walkers.side * walkers.left > kerb).all() and (walkers.speed < 0.01).all()
    for _ in range(200):
        walkers.step(0.1, np.ones(3, bool))
    assert (walkers.side * walkers.left < -kerb).all()
    np.testing.assert_allclose(walkers.speed, walkers.desired, rtol=1e-6)


def test_the_clock_records_every_dt():
    clock = Clock(steps=3, dt=0.5, now=1, warm=2.0)
    np.testing.assert_array_equal(clock.recorded, [20, 25, 30])
    assert (clock.ticks, clock.present, clock.end) == (31, 2.5, 3.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "motorway"}, "unknown kind of scene 'motorway'; expected one of highway"),
        ({"seed": -1}, "a seed is an integer of 0 or more, got -1"),
        ({"steps": 1}, "at least 2 steps, got 1"),
        ({"dt": 0.25}, r"steps of 0.1 s, got dt=0.25; take a multiple"),
        ({"dt": 0.0}, r"steps of 0.1 s, got dt=0"),
        ({"now": 22}, "now is one of the 22 steps, got 22; take 0 to 21"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        generate(**({"kind": "highway", "seed": 0} | options))
