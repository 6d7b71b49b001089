"""The encoder: it sees relations alone, whoever else is in the batch."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from domains.trajectory.batch import case
from domains.trajectory.network.encoder import FAR
from domains.trajectory.scene import KINDS
from tests.trajectory.crowds import NOW, WINDOW, crowd, exact, line, moved, predictor, road, seen

CLOSE = {"atol": 1e-6, "rtol": 1e-6}


@pytest.fixture(scope="module")
def encoder():
    return predictor(dtype=torch.float64, layers=2).encoder


@pytest.mark.parametrize("paved", [True, False])
@pytest.mark.parametrize("angle", [0.3, 1.5, 2.8, 5.0])
def test_turned_and_moved_scenes_are_encoded_alike(encoder, paved, angle):
    for seed in range(3):
        scene = crowd(seed, road=road() if paved else None)
        one = encoder(seen(scene))
        other = encoder(seen(moved(scene, angle, (300.0, -50.0))))
        torch.testing.assert_close(other.agents, one.agents, **CLOSE)
        torch.testing.assert_close(other.relations, one.relations, **CLOSE)
        assert torch.equal(other.sees, one.sees)


def test_headings_count_modulo_a_turn(encoder):
    scene = crowd(road=road())
    other = replace(scene, headings=scene.headings + 2 * np.pi)
    torch.testing.assert_close(encoder(seen(other)).agents, encoder(seen(scene)).agents, **CLOSE)


def test_another_order_of_agents_is_another_order_of_encodings(encoder):
    scene, order = crowd(road=road(), agents=6), [4, 2, 0, 5, 1, 3]
    one, other = encoder(seen(scene)), encoder(seen(scene.of(order)))
    torch.testing.assert_close(other.agents, one.agents[:, order])
    torch.testing.assert_close(other.relations, one.relations[:, order][:, :, order])


def test_larger_scenes_in_the_batch_change_nothing(encoder):
    small, large = crowd(0, agents=2, road=None), crowd(1, agents=7, road=road())
    paved = crowd(2, agents=3, road=replace(road(), crossings=(), stops=()))
    whole = encoder(seen(small, large, paved))
    for row, scene in enumerate((small, large, paved)):
        alone, n = encoder(seen(scene)), scene.agents
        torch.testing.assert_close(whole.agents[row, :n], alone.agents[0])
        torch.testing.assert_close(whole.relations[row, :n, :n], alone.relations[0])
        assert not whole.sees[row, n:].any() and not whole.sees[row, :, n:].any()
    assert torch.isfinite(whole.agents).all()


def test_what_lies_where_nothing_is_valid_is_not_seen(encoder):
    inputs = exact([case(crowd(s, agents=n, road=road()), WINDOW) for s, n in ((0, 6), (1, 3))])
    garbage = torch.where(inputs.valid, 0.0, 321.0)
    past = inputs.positions[:, :, :-1] + garbage[:, :, :-1, None]
    other = inputs._replace(
        positions=torch.cat([past, inputs.positions[:, :, -1:]], 2),
        headings=inputs.headings + garbage,
        map_points=inputs.map_points + torch.where(inputs.pieces, 0.0, 9.0)[..., None, None],
    )
    one, two = encoder(inputs), encoder(other)
    torch.testing.assert_close(two.agents[inputs.agents], one.agents[inputs.agents])


def test_nobody_sees_itself_or_who_is_far(encoder):
    scene = crowd(agents=3)
    positions = scene.positions.copy()
    positions[2] = positions[0] + [FAR + 1, 0]
    positions[1] = positions[0] + [0, FAR - 1]
    sees = encoder(seen(replace(scene, positions=positions))).sees[0]
    gap = math.hypot(FAR + 1, FAR - 1)
    assert gap > FAR
    assert sees.tolist() == [[False, True, False], [True, False, False], [False, False, False]]


def test_an_agent_at_one_point_alone_is_encoded(encoder):
    scene = crowd(agents=1)
    valid = np.zeros_like(scene.valid)
    valid[:, NOW] = True
    found = encoder(seen(replace(scene, valid=valid)))
    assert torch.isfinite(found.agents).all() and not found.sees.any()


def changes():
    scene = crowd(road=road())
    positions, headings, valid = scene.positions.copy(), scene.headings.copy(), scene.valid.copy()
    positions[0, 1] += 0.5
    headings[0, 1] += 0.5
    valid[0, 0] = False
    other = KINDS[(KINDS.index(scene.kinds[0]) + 1) % len(KINDS)]
    shifted = scene.positions.copy()
    shifted[4] += 1.0
    lane = replace(scene.road.lanes[0], centre=line((-25, 2), (0, 2), (20, 9)))
    wall = replace(scene.road, stops=(), walls=scene.road.walls + scene.road.stops)
    return {
        "a position before": replace(scene, positions=positions),
        "a heading before": replace(scene, headings=headings),
        "a step not seen": replace(scene, valid=valid),
        "a kind": replace(scene, kinds=(other, *scene.kinds[1:])),
        "another's place": replace(scene, positions=shifted),
        "a lane": replace(scene, road=replace(scene.road, lanes=(lane,))),
        "a kind of line": replace(scene, road=wall),
        "no map": replace(scene, road=None),
    }


@pytest.mark.parametrize("name", changes())
def test_everything_that_is_known_counts(encoder, name):
    one, other = (encoder(seen(s)).agents[0, 0] for s in (crowd(road=road()), changes()[name]))
    assert (one - other).abs().max() > 1e-5
