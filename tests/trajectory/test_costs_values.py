"""Every cost's value by hand, or by another way to compute it, and its errors."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from domains.trajectory.costs import (
    Acceleration,
    Apart,
    Attraction,
    Behind,
    Braking,
    Corridor,
    GoalDisc,
    GoalPoint,
    GoalPolygon,
    InLane,
    Jerk,
    OnRoad,
    Repulsion,
    Route,
    Setting,
    Span,
    Speed,
    StopBefore,
    Waypoint,
    centre_of,
)
from domains.trajectory.costs.motion import accelerations, jerks, speeds, velocities
from domains.trajectory.road import RoadMap
from tests.trajectory.small_scene import DT, ORIGIN, ROAD, futures, scene, setting, steady


def value(cost, p=None):
    return cost(steady() if p is None else p).item()


def moved(agent, step, xy):
    p = steady()
    p[0, agent, step] = torch.tensor(xy, dtype=torch.float64)
    return p


def test_motion_of_a_fall_is_exact_from_the_first_step():
    # x = 2 t + t^2 / 2, with the history at the same law, so a = 1 throughout.
    times = DT * np.arange(-2, 5)
    x = 2 * times + times**2 / 2
    now = scene()
    positions = now.positions.copy()
    positions[0, :, 0] = 100 + x[:3]
    where = Setting.of(replace(now, positions=positions), [0], DT, 4, ORIGIN)
    p = torch.zeros(1, 1, 4, 2, dtype=torch.float64)
    p[0, 0, :, 0] = torch.as_tensor(x[3:])
    middles = torch.as_tensor(times[2:-1] + DT / 2)
    torch.testing.assert_close(speeds(p, where)[0, 0], 2 + middles)
    torch.testing.assert_close(velocities(p, where)[0, 0, :, 0], 2 + middles)
    torch.testing.assert_close(accelerations(p, where)[0, 0, :, 0], torch.ones(4).double())
    assert jerks(p, where).shape == (1, 1, 3, 2)
    torch.testing.assert_close(jerks(p, where), torch.zeros(1, 1, 3, 2).double())


def test_the_first_acceleration_reckons_with_the_scene_s_own_step():
    # The scene steps 0.5 s, the future 1 s: the middles of the steps are 0.75 s apart.
    where = Setting.of(scene(), [0], 1.0, 2, ORIGIN)
    p = futures([[3.5, 0], [7, 0]])
    np.testing.assert_allclose(accelerations(p, where)[0, 0, :, 0], [1.5 / 0.75, 0])


def test_an_agent_seen_once_has_no_first_acceleration():
    valid = np.ones((3, 3), bool)
    valid[0, :2] = False
    where = Setting.of(replace(scene(), valid=valid), [0], DT, 2, ORIGIN)
    assert where.velocities.isnan().all()
    np.testing.assert_allclose(accelerations(futures([[1, 0], [3, 0]]), where)[0, 0, :, 0], [0, 4])
    with pytest.raises(ValueError, match="agent 1 was seen once, so its speed is not known"):
        Braking(where, [0], 1)


def test_a_setting_follows_the_order_of_the_agents_and_reads_no_future():
    now = scene()
    more = replace(
        now,
        positions=np.concatenate([now.positions, now.positions + 50], axis=1),
        headings=np.zeros((3, 6)),
        valid=np.ones((3, 6), bool),
    )
    where = Setting.of(more, [2, 0], DT, 4, ORIGIN)
    assert where.ids == ("ego", "1")
    assert where.kinds == ("pedestrian", "vehicle")
    np.testing.assert_allclose(where.positions, [[0, 4], [0, 0]])
    np.testing.assert_allclose(where.velocities, [[0, 0], [2, 0]])


def test_goals():
    # At 1.2 s agent 1 is 2.4 m on.
    assert value(GoalPoint(setting(), [0], (103, 203), 1.2)) == pytest.approx(0.6**2 + 3**2)
    assert value(GoalPoint(setting(), [0, 1], (104, 200))) == pytest.approx(16)
    assert value(GoalPoint(setting(), [0], (104, 203), 0.25)) == pytest.approx(3.5**2 + 9)
    assert value(GoalDisc(setting(), [0], (107, 204), 2)) == pytest.approx(9)
    square = [(105, 201), (107, 201), (107, 203), (105, 203)]
    assert value(GoalPolygon(setting(), [0], square)) == pytest.approx(2)
    assert value(GoalPolygon(setting(), [0], square), moved(0, 3, (6, 2))) == 0


def test_a_waypoint_is_passed_whenever():
    assert value(Waypoint(setting(), [0], (102.3, 203))) == pytest.approx(9)
    assert value(Waypoint(setting(), [0], (99, 201))) == pytest.approx(2)
    assert value(Waypoint(setting(), [0], (107, 204))) == pytest.approx(25)
    assert value(Waypoint(setting(), [2], (103, 204))) == pytest.approx(9)  # ego stands


def test_speeds():
    # Two seconds at 2 m/s.
    assert value(Speed(setting(), [0], "<=", 1.5)) == pytest.approx(0.25 * 2)
    assert value(Speed(setting(), [0, 1], ">=", 5)) == pytest.approx(2 * 9 * 2)
    assert value(Speed(setting(), [0], "=", 3, Span(1.0, 2.0))) == pytest.approx(1)
    assert value(Speed(setting(), [0], "=", 3, Span(stop=0.5))) == pytest.approx(0.5)


def test_acceleration_and_jerk():
    # Agent 1 goes on at 4 m/s: one jump of 2 m/s within 0.5 s, then back.
    p = steady(4.0)
    assert value(Acceleration(setting(), [0], 1), p) == pytest.approx((4 - 1) ** 2 * 0.5)
    assert value(Acceleration(setting(), [0], 1, Span(0.5)), p) == 0
    assert value(Jerk(setting(), [0], 1), p) == pytest.approx((8 - 1) ** 2 * 0.5)
    assert Jerk(setting(), [0], 1).residual(p).item() == pytest.approx(7)


def test_braking_stops_where_it_should():
    # From 2 m/s at 1.6 m/s^2: stops after 1.25 s and 1.25 m.
    times = np.minimum(DT * np.arange(1, 5), 1.25)
    p = steady()
    p[0, 0, :, 0] = torch.as_tensor(2 * times - 0.8 * times**2)
    assert p[0, 0, -1, 0] == pytest.approx(1.25)
    assert value(Braking(setting(), [0], 1.6), p) == pytest.approx(0, abs=1e-12)
    assert value(Braking(setting(), [0], 0)) == pytest.approx(0, abs=1e-12)
    # Not braking at all: off by 0.4, 1.2, 1.95 (at 1.25 s it stands) and 2 m/s.
    off = np.array([0.4, 1.2, 2 - 0.5 * 0.25 * 0.4 / 0.5, 2])
    assert value(Braking(setting(), [0], 1.6)) == pytest.approx((off**2).sum() * DT)


def test_apart():
    # Agents 1 and 2 are 4 m apart, 1 and ego sqrt(16 + x^2), 2 and ego more.
    assert value(Apart(setting(), [0, 1], 5)) == pytest.approx(4 * DT)
    p, d = steady().numpy()[0], 6.0
    hinges = [
        max(0, d - np.linalg.norm(p[a, f] - p[b, f])) ** 2
        for f in range(4)
        for a, b in [(0, 1), (0, 2), (1, 2)]
    ]
    assert value(Apart(setting(), [0, 1, 2], d)) == pytest.approx(sum(hinges) * DT)
    alone = sum(h for i, h in enumerate(hinges) if i % 3 < 2) * DT
    assert value(Apart(setting(), [0], d)) == pytest.approx(alone)
    nearest = [d - 4, d - 4, d - np.hypot(1, 4)]
    found = Apart(setting(), [0, 1, 2], d).residual(steady())
    np.testing.assert_allclose(found, [nearest])


def test_two_agents_at_one_point_have_a_gradient_that_is_a_number():
    p = steady()
    p[:, 1] = p[:, 0]
    p.requires_grad_()
    (slope,) = torch.autograd.grad(Apart(setting(), [0, 1], 5)(p).sum(), p)
    assert slope.isfinite().all()


def test_attraction_and_repulsion():
    x = np.arange(1, 5.0)
    pull = np.sqrt(1 + (5 - x) ** 2) - 1
    assert value(Attraction(setting(), [0], (105, 200))) == pytest.approx(pull.sum() * DT)
    assert value(Attraction(setting(), [0], 1, Span(1.5))) == pytest.approx(2 * (17**0.5 - 1) * DT)
    push = np.maximum(0, 3 - np.abs(5 - x)) ** 2
    assert value(Repulsion(setting(), [0], (105, 200), 3)) == pytest.approx(push.sum() * DT)
    assert value(Repulsion(setting(), [0], 1, 6)) == pytest.approx(4 * 4 * DT)


def test_behind():
    assert value(Behind(setting(), [0], 1, 6)) == pytest.approx(4 * 4 * DT)
    assert value(Behind(setting(), [1], 0, 6)) == pytest.approx(100 * 4 * DT)
    # Ego stands at (0, 4) and points north: agent 1 is 4 m behind it, however far east.
    assert value(Behind(setting(), [0], 2, 5)) == pytest.approx(1 * 4 * DT)


def test_behind_follows_how_the_leader_moves_not_how_it_points():
    # Ego points north and drives off east at 8 m/s; agent 1 is 3 m behind it in x at each step.
    p = steady()
    p[0, 2, :, 0] = 4 * torch.arange(1, 5)
    p[0, 0, :, 0] = p[0, 2, :, 0] - 3
    assert Behind(setting(), [0], 2, 10).residual(p).item() == pytest.approx(7, abs=0.1)


def test_the_road():
    p = moved(0, 2, (3.0, -5.0))
    assert value(OnRoad(setting(), [0]), p) == pytest.approx(9 * DT)
    assert value(OnRoad(setting(), [0], Span(stop=1.0)), p) == 0
    square = [(101, 199), (103, 199), (103, 201), (101, 201)]
    assert value(Corridor(setting(), [0], square)) == pytest.approx(1 * DT)
    assert value(InLane(setting(), [0], "12"), p) == pytest.approx(9 * DT)
    assert value(InLane(setting(), [0], "7")) == pytest.approx(4 * 4 * DT)
    # Lane 12 ends 15 m ahead; beyond, it goes on straight.
    assert value(InLane(setting(), [0], "12"), moved(0, 3, (40, 0))) == 0
    assert value(Route(setting(), [0], [(90, 199), (91, 199)])) == pytest.approx(4 * DT)
    along = centre_of(setting(), ["12", "13"])
    assert value(Route(setting(), [0], along), moved(0, 3, (13, 20))) == pytest.approx(4 * DT)


def test_stop_before():
    # The line x = 102.5 is crossed at the last two steps, by 0.5 and 1.5 m.
    for ends in ([(102.5, 0), (102.5, 9)], [(102.5, 9), (102.5, 0)]):
        assert value(StopBefore(setting(), [0], ends)) == pytest.approx(2.5 * DT)
    gap = (0.5**2 + 1.5**2 + 2.5**2) * DT
    assert value(StopBefore(setting(), [0], [(102.5, 0), (102.5, 9)], 1)) == pytest.approx(gap)
    # Agent 1 heads along the line y = 201 and is south of it: north is beyond.
    p = moved(0, 1, (2, 3))
    assert value(StopBefore(setting(), [0], [(90, 201), (110, 201)]), p) == pytest.approx(4 * DT)
    # Agent 2 is past the line that it drives away from: it should not be there.
    behind = StopBefore(setting(), [1], [(102.5, 0), (102.5, 9)])
    assert behind.residual(steady()).item() == pytest.approx(5.5)


FAR = RoadMap(areas=(np.array([[900.0, 900], [901, 900], [901, 901]]),))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: GoalPoint(setting(), [0], (1, 2), 2.5), "2.5 s lies outside the horizon, which"),
        (lambda: GoalPoint(setting(), [0], (1, 2), 0.0), "0 s lies outside the horizon, which"),
        (lambda: GoalPoint(setting(), [0], (1, np.nan)), "and finite coordinates, got"),
        (lambda: GoalPoint(setting(), [3], (1, 2)), r"agents out of 0 to 2, got \[3\]"),
        (lambda: GoalPoint(setting(), [], (1, 2)), r"agents out of 0 to 2, got \[\]"),
        (lambda: GoalDisc(setting(), [0], (1, 2), -1), "the radius is a number of 0 or more, got"),
        (lambda: GoalPolygon(setting(), [0], [(1, 2), (3, 4)]), "needs three different corners"),
        (lambda: Speed(setting(), [0], "<", 1), "bound by one of .*, got '<'"),
        (lambda: Speed(setting(), [0], "<=", -1), "the speed is a number of 0 or more, got -1"),
        (lambda: Speed(setting(), [0], "<=", 1, Span(3.0)), "3 s lies outside the horizon"),
        (lambda: Speed(setting(), [0], "<=", 1, Span(0.8, 1.2)), "holds no step; the steps are"),
        (lambda: Jerk(setting(horizon=1), [0], 1), "holds no step"),
        (lambda: Apart(Setting.of(scene(), [0], DT, 2, ORIGIN), [0], 1), "needs two agents"),
        (lambda: Attraction(setting(), [0, 1], 1), "agent 2 is its own target; name another"),
        (lambda: OnRoad(setting(None), [0]), "the scene has no map; drop the constraint"),
        (lambda: OnRoad(setting(FAR), [0]), "no drivable area within 28 m of the agents"),
        (lambda: InLane(setting(), [0], "5"), "the map has no lane '5'"),
        (lambda: centre_of(setting(), ["12", "7"]), "lane 7 does not follow lane 12, whose succ"),
        (lambda: Route(setting(), [0], [(1, 2), (1, 2)]), "needs two different points"),
        (lambda: StopBefore(setting(), [0], [(1, 2), (1, 2)]), "needs two different points"),
        (lambda: Setting.of(scene(), [0], DT, 0, ORIGIN), "a step or more of a positive time"),
        (lambda: setting().place("9"), "no agent '9' is predicted here; name one of: 1, 2, ego"),
    ],
)
def test_errors_say_what_to_do(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_an_agent_that_is_not_seen_now_has_no_future():
    valid = np.ones((3, 3), bool)
    valid[1, 2] = False
    with pytest.raises(ValueError, match="agent 2 is not seen now, so it has no future"):
        Setting.of(replace(scene(), valid=valid), [0, 1], DT, 2, ORIGIN)


def test_what_is_out_of_reach_is_not_searched():
    far = replace(ROAD.lanes[0], id="far", centre=ROAD.lanes[0].centre + 900)
    far = replace(far, left=far.left + 900, right=far.right + 900)
    wide = OnRoad(setting(RoadMap(lanes=(*ROAD.lanes, far))), [0]).area
    assert len(wide.starts) == len(OnRoad(setting(), [0]).area.starts)
