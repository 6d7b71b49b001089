"""Requests: from constraints to energies, residuals and what is drawn."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from domains.trajectory.asking import asking, guide, judged, setting_of, with_goals
from domains.trajectory.costs.language import parse
from domains.trajectory.forecast import Forecast
from domains.trajectory.guiding import Guidance
from domains.trajectory.predict import Sampling, predict, sampled
from domains.trajectory.prepared import prepare
from tests.trajectory.small_predictor import DT, FUTURE, small, walkers

HOW = Sampling(samples=4, steps=4)


def forecast(scene, *ends):
    """Return worlds in which everybody goes straight to where they are plus an end."""
    now = scene.positions[:, scene.now]
    share = (np.arange(FUTURE) + 1) / FUTURE
    ends = np.array(ends, float)[:, None, None]
    worlds = now[None, :, None] + share[:, None] * np.broadcast_to(ends, (*ends.shape[:1], 1, 1, 2))
    worlds = np.broadcast_to(worlds, (len(ends), scene.agents, FUTURE, 2)).copy()
    agents = np.arange(scene.agents)
    return Forecast(scene, agents, worlds, DT, np.full(len(ends), 1 / len(ends)))


def point(scene, agent, dx, dy):
    """Return a point beside an agent, as it is written in a constraint, and as numbers."""
    x, y = scene.positions[agent, scene.now] + [dx, dy]
    return f"({float(x)!r}, {float(y)!r})", np.array([x, y])


def test_a_setting_knows_who_is_seen_now():
    scene = walkers(4)
    valid = scene.valid.copy()
    valid[1, scene.now] = False
    prepared = prepare(small(), [replace(scene, valid=valid)])
    setting = setting_of(prepared, prepared.scenes[0], prepared.cases[0])
    assert setting.ids == ("w0", "w2", "w3") and setting.horizon == FUTURE and setting.dt == DT
    now = scene.positions[[0, 2, 3], scene.now]
    np.testing.assert_allclose(setting.positions.numpy() + setting.origin, now)


def test_residuals_by_hand():
    """Two worlds, ending 2 m short of the goal and on it."""
    scene = walkers(2)
    text, _ = point(scene, 1, 6, 0)
    rows = judged(forecast(scene, (4, 0), (6, 0)), parse(f"agent w1: goal {text}; speed <= 1.5"))
    assert [(row.agent, row.unit) for row in rows] == [("w1", "m"), ("w1", "m/s")]
    assert rows[0].mean == pytest.approx(1, abs=1e-6)
    assert (rows[0].worst, rows[0].met) == (pytest.approx(2, abs=1e-6), 0.5)
    # 3 s for 4 m and 6 m are 1.33 and 2 m/s.
    assert rows[1].worst == pytest.approx(0.5, abs=1e-6) and rows[1].met == 0.5


def test_goals_are_drawn_where_they_were_asked_for():
    scene = walkers(2)
    text, wanted = point(scene, 1, 6, 0)
    found = with_goals(forecast(scene, (1, 0)), parse(f"agent w1: goal {text}; speed <= 2"))
    ((name, place, agent),) = found.goals
    assert name.startswith("goal") and agent == 1
    np.testing.assert_allclose(place, wanted)


def test_every_scene_of_a_batch_is_asked_the_same():
    """One request with the names of agents, two scenes: each has its own agent w1."""
    scenes = [walkers(2), walkers(4)]
    prepared = prepare(small(), scenes)
    ask = asking(parse("agent w1: goal 5 m ahead"))
    told = sampled(prepared, HOW, guide(ask, Guidance("ecm", 0.3)))
    for i, scene in enumerate(scenes):
        alone = prepare(small(), [scene])
        wanted = sampled(alone, HOW, guide(ask, Guidance("ecm", 0.3)))
        found = told[4 * i : 4 * i + 4, : scene.agents]
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)


def test_a_request_lowers_its_residual():
    scene = walkers(3)
    constraints = parse("agent w0: goal 2 m ahead, 3 m left; speed <= 3\nall: apart 1.0")
    ((_, plain),) = predict(small(), [scene], HOW)
    obeying = guide(asking(constraints), Guidance())
    ((_, told),) = predict(small(), [scene], HOW, None, obeying)
    before, after = (judged(one, constraints)[0].mean for one in (plain, told))
    assert after < 0.5 * before


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("agent 77: speed <= 2", "no agent '77' is predicted here; name one of: w0, w1"),
        ("agent w0: goal (1, 2) at 9 s", "9 s lies outside the horizon, which ends 3 s after now"),
        ("cyclists: speed <= 2", "the scene has no cyclists"),
    ],
)
def test_a_request_that_does_not_fit_the_scene_is_refused(line, message):
    obeying = guide(asking(parse(line)), Guidance())
    with pytest.raises(ValueError, match=message):
        list(predict(small(), [walkers(2)], HOW, None, obeying))
