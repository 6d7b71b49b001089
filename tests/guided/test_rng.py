"""Streams of selected samples: shared with the whole, and each as if alone; initial weights."""

import numpy as np
import pytest
import torch

from guided.rng import Rng, initial_weights


def test_taken_streams_are_shared_and_each_goes_on_as_if_alone():
    alone = [Rng.per_sample(7, 1, first=i) for i in range(4)]
    rng = Rng.per_sample(7, 4)
    rng.normal((4, 2))
    some = rng.take(np.array([3, 1]))
    drawn, candidates, rest = some.normal((2, 2)), some.uniform((6, 2)), rng.normal((4, 2))
    for i, row in ((3, 0), (1, 1)):
        alone[i].normal((1, 2))
        assert torch.equal(drawn[row], alone[i].normal((1, 2))[0])
        assert torch.equal(candidates[3 * row : 3 * row + 3], alone[i].uniform((3, 2)))
        assert torch.equal(rest[i], alone[i].normal((1, 2))[0])
    alone[0].normal((1, 2))
    assert torch.equal(rest[0], alone[0].normal((1, 2))[0])  # those not taken did not move
    assert some.seeds == [rng.seeds[3], rng.seeds[1]]


def test_a_wrapped_generator_can_be_taken():
    generator = torch.Generator().manual_seed(3)
    taken = Rng.wrap(generator).take([0]).normal((2,))
    assert torch.equal(taken, torch.randn(2, generator=torch.Generator().manual_seed(3)))


@pytest.mark.parametrize("index", [[], [4], [-1], [0, 9]])
def test_streams_that_are_not_there_are_refused(index):
    with pytest.raises(ValueError, match="of 4; give at least one of 0"):
        Rng.per_sample(0, 4).take(index)


def test_initial_weights_follow_their_seed_and_leave_no_trace():
    before = torch.random.get_rng_state()
    weights = []
    for seed in (5, 5, 6):
        with initial_weights(seed):
            weights.append(torch.nn.Linear(3, 3).weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert torch.equal(torch.random.get_rng_state(), before)
