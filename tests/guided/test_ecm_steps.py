"""The shape and the length of a step of ECM: spreads, metrics, halvings, parts of a sum."""

import math

import pytest
import torch

from guided import (
    FunctionEnergy,
    Rng,
    VPLinear,
)
from guided.guidance import ECM
from tests.guided.toy import Toy

F64 = torch.float64
QUARTIC = FunctionEnergy(lambda x: ((x - 2) ** 4 + 3 * x.roll(1, 1) * x).flatten(1).sum(1))
LEVEL = VPLinear().level(0.5)


def test_requests_have_a_spread_of_their_own() -> None:
    """Rows side by side share it; the result is that of each request alone."""
    x = Rng(0).normal((6, 4), F64)
    spread = torch.tensor([[0.5, 1.0, 2.0, 3.0], [1.0, 0.2, 0.7, 5.0]], dtype=F64)
    toy = Toy(VPLinear())
    both = ECM(toy, QUARTIC, scale=0.03, clip=0.2, spread=spread)(x, LEVEL)
    for i, own in enumerate(spread):
        alone = ECM(toy, QUARTIC, scale=0.03, clip=0.2, spread=own)(x[3 * i : 3 * i + 3], LEVEL)
        assert torch.equal(both.x0[3 * i : 3 * i + 3], alone.x0)
    with pytest.raises(ValueError, match="2 requests cannot share 5 rows"):
        ECM(toy, QUARTIC, spread=spread)(x[:5], LEVEL)


def test_a_metric_shapes_the_step() -> None:
    """Written out for two requests of three rows; the identity in y is neutral."""
    x = Rng(0).normal((6, 2, 3), F64)
    root = Rng(1).normal((2, 2, 3, 3), F64)
    metric, spread = root @ root.mT, 0.5 + Rng(2).uniform((2, 2, 3), F64)
    energy = FunctionEnergy(lambda x0: (x0 - 1).pow(4).sum((1, 2)))
    toy = Toy(VPLinear())
    found = ECM(toy, energy, 0.1, clip=0.3, spread=spread, metric=metric)(x, LEVEL)
    plain = toy(x, LEVEL)
    bound = 0
    for row in range(6):
        for part in range(2):
            slope = 4 * (plain.x0[row, part] - 1) ** 3
            own = spread[row // 3, part]
            way = 0.1 * own * (metric[row // 3, part] @ slope)
            bound += (way.abs() > 0.3).sum().item()
            expected = plain.x0[row, part] - way.clip(-0.3, 0.3) / own
            torch.testing.assert_close(found.x0[row, part], expected)
    assert 0 < bound < 36
    assert torch.equal(found.eps, plain.eps)
    neutral = torch.diag_embed(spread.square().reciprocal())
    same = ECM(toy, energy, 0.1, clip=0.3, spread=spread, metric=neutral)(x, LEVEL)
    torch.testing.assert_close(same.x0, ECM(toy, energy, 0.1, clip=0.3, spread=spread)(x, LEVEL).x0)


@pytest.mark.parametrize("halvings", [1, 3])
def test_a_step_that_overshoots_is_halved_sample_by_sample(halvings: int) -> None:
    """Of 1, 1/2, 1/4, ... of the step, each sample takes the one with the least energy."""
    x, toy = 2 * Rng(0).normal((7, 3), F64), Toy(VPLinear())
    steep = torch.tensor([[0.1], [1.0], [3.0], [9.0], [20.0], [0.5], [6.0]], dtype=F64)

    def energy(x0: torch.Tensor) -> torch.Tensor:
        return (steep.repeat_interleave(len(x0) // 7, 0) * (x0 - 1).square()).sum(1)

    plain = toy(x, LEVEL).x0
    move = 0.4 * 2 * steep * (plain - 1)
    found = ECM(toy, FunctionEnergy(energy), 0.4, math.inf, halvings=halvings)(x, LEVEL).x0
    lengths = set()
    for row in range(7):
        tries = [plain[row] - 0.5**i * move[row] for i in range(halvings + 1)]
        best = min(range(halvings + 1), key=lambda i: (tries[i] - 1).square().sum())
        lengths.add(best)
        torch.testing.assert_close(found[row], tries[best])
    assert lengths == set(range(halvings + 1))
    with pytest.raises(ValueError, match="needs 0 or more halvings, got -1"):
        ECM(toy, QUARTIC, halvings=-1)


def test_parts_of_a_sum_have_lengths_of_their_own() -> None:
    steep = torch.tensor([0.5, 10.0], dtype=F64)

    class Sum(FunctionEnergy):
        def parts(self, x0: torch.Tensor, cond: object = None) -> torch.Tensor:
            return steep * (x0 - 1).square().sum(-1)

    energy = Sum(lambda x0: (steep * (x0 - 1).square().sum(-1)).sum(1))
    x, toy = Rng(0).normal((4, 2, 3), F64), Toy(VPLinear())
    plain = toy(x, LEVEL).x0
    found = ECM(toy, energy, 0.2, math.inf, halvings=3)(x, LEVEL).x0
    lengths = torch.tensor([1.0, 0.25], dtype=F64)  # 2 * 0.2 * 10 * 0.25 = 1 lands on the minimum
    step = 0.4 * (lengths * steep)[:, None] * (plain - 1)
    torch.testing.assert_close(found, plain - step)


def test_of_steps_that_are_as_good_the_shortest_is_taken() -> None:
    """Who is over the line after a half and a whole step goes the half."""
    energy = FunctionEnergy(lambda x0: x0.relu().square().sum(1))
    x, toy = torch.full((2, 1), 3.0, dtype=F64), Toy(VPLinear())
    x0 = toy(x, LEVEL).x0
    assert (x0 > 0).all()
    # A whole step goes 4 times as far as the line, a quarter of it just there.
    found = ECM(toy, energy, 2.001, math.inf, halvings=3)(x, LEVEL).x0
    torch.testing.assert_close(found, x0 - 2.001 / 4 * 2 * x0)
