"""Relations: what they are by hand, and that nothing but them enters."""

import math

import pytest
import torch

from domains.trajectory.network.relations import (
    FEATURES,
    NEAR,
    Poses,
    RelationEmbedding,
    relations,
)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def poses(n, seed):
    return Poses(10 * draw(n, 2, seed=seed), 3 * draw(n, seed=seed + 1))


def test_a_relation_by_hand():
    receiver = Poses(torch.tensor([[1.0, 1.0]]).double(), torch.tensor([math.pi / 2]).double())
    sender = Poses(torch.tensor([[1.0, 5.0]]).double(), torch.tensor([math.pi]).double())
    found = relations(receiver, sender, 1.5)[0].tolist()
    ahead = 4 / (NEAR + 4)
    assert found == pytest.approx([0.4, math.log(5), ahead, 0, 0, 1, 1.5], abs=1e-6)


def test_features_are_distance_direction_and_turn():
    one, two = poses(40, 1), poses(40, 5)
    found = relations(one, two)
    x, y = (two.positions - one.positions).unbind(-1)
    far = torch.hypot(x, y)
    phi, theta = torch.atan2(y, x) - one.headings, two.headings - one.headings
    fade = far / (NEAR + far)
    parts = [far / 10, (1 + far).log(), fade * phi.cos(), fade * phi.sin()]
    expected = torch.stack([*parts, theta.cos(), theta.sin(), 0 * far], -1)
    assert found.shape == (40, FEATURES)
    torch.testing.assert_close(found, expected)


def test_turned_and_moved_poses_have_the_same_relations():
    one, two = poses(40, 1), poses(40, 5)
    turn = torch.polar(torch.tensor(1.0).double(), torch.tensor(2.2).double())

    def moved(which):
        points = torch.view_as_complex(which.positions) * turn + (30 - 70j)
        return Poses(torch.view_as_real(points), which.headings + 2.2)

    torch.testing.assert_close(relations(moved(one), moved(two)), relations(one, two))


def test_poses_and_gaps_broadcast():
    one, two = poses(3, 1), poses(4, 2)
    column = Poses(one.positions[:, None], one.headings[:, None])
    found = relations(column, two, torch.arange(4.0).double())
    assert found.shape == (3, 4, FEATURES)
    torch.testing.assert_close(
        found[2, 3], relations(Poses(*(x[2] for x in one)), Poses(*(x[3] for x in two)), 3.0)
    )


def test_gradients_are_finite_where_two_are_at_one_place():
    here = torch.zeros(1, 2, requires_grad=True)
    relations(Poses(here, torch.zeros(1)), Poses(torch.zeros(1, 2), torch.ones(1))).sum().backward()
    assert torch.isfinite(here.grad).all()


def test_embeddings_are_of_each_relation_alone():
    torch.manual_seed(0)
    embed = RelationEmbedding(6).double()
    features = draw(2, 5, FEATURES)
    found = embed(features)
    assert found.shape == (2, 5, 6)
    torch.testing.assert_close(embed(features[1, 3]), found[1, 3])
    angle = 2 * math.pi * (features @ embed.waves.weight.T + embed.waves.bias)
    by_hand = embed.layers(torch.cat([features, angle.cos(), angle.sin()], -1))
    torch.testing.assert_close(found, by_hand)
