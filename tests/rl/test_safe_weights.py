import math

import pytest
import torch

from domains.rl.safe.train import Proportional
from domains.rl.safe.weights import WeightConfig, weights


def weight(q, v, q_h, v_h, **changes):
    row = (torch.tensor([float(number)]) for number in (q, v, q_h, v_h))
    return weights(*row, WeightConfig(**changes)).item()


@pytest.mark.parametrize(
    ("q", "v", "q_h", "v_h", "expected"),
    [
        # Feasible state and action: exp(3 (Q - V)).
        (1.0, 1.0, -0.5, -0.5, 1.0),
        (1.5, 1.0, -0.5, -0.5, math.exp(1.5)),
        (0.0, 1.0, -0.5, -0.5, math.exp(-3.0)),
        # ... at most 100; exp(4.5) = 90 is below, exp(6) = 403 is not.
        (2.5, 1.0, -0.5, -0.5, math.exp(4.5)),
        (3.0, 1.0, -0.5, -0.5, 100.0),
        # On the rim all is feasible.
        (1.0, 1.0, 0.0, 0.0, 1.0),
        # Feasible state, infeasible action: nothing, whatever it earns.
        (9.0, 1.0, 0.1, -0.5, 0.0),
        (9.0, 1.0, 1e-6, 0.0, 0.0),
        # Infeasible state: exp(5 (V_h - Q_h)), whatever it earns and wherever the action leads.
        (9.0, 0.0, 0.5, 0.5, 1.0),
        (0.0, 9.0, 0.3, 0.5, math.exp(1.0)),
        (0.0, 9.0, 0.7, 0.5, math.exp(-1.0)),
        (0.0, 9.0, -0.1, 0.5, math.exp(3.0)),
        # ... at most 150; exp(5) = 148.4 is below, exp(5.5) = 244.7 is not.
        (0.0, 9.0, -0.5, 0.5, math.exp(5.0)),
        (0.0, 9.0, -0.6, 0.5, 150.0),
    ],
)
def test_every_branch(q, v, q_h, v_h, expected):
    assert weight(q, v, q_h, v_h) == pytest.approx(expected, rel=1e-5)


def test_temperatures_and_limits():
    assert weight(2, 1, -1, -1, reward=2) == pytest.approx(math.exp(2), rel=1e-6)
    assert weight(2, 1, -1, -1, reward=0) == 1
    assert weight(0, 0, 0.2, 1, safety=1) == pytest.approx(math.exp(0.8), rel=1e-6)
    assert weight(9, 1, -1, -1, most_reward=7) == 7
    assert weight(0, 0, 0, 9, most_safety=8) == 8


def test_huge_advantages_do_not_overflow():
    assert weight(1e6, 0, -1, -1) == 100
    assert weight(0, 0, -1e6, 1, safety=50) == 150


@pytest.mark.parametrize("changes", [{"reward": -1}, {"safety": -1}, {"most_reward": 0}])
def test_settings_are_checked(changes):
    with pytest.raises(ValueError, match="temperatures >= 0"):
        WeightConfig(**changes)


def test_rows_are_drawn_in_proportion():
    draw = Proportional(torch.tensor([0.0, 1.0, 0.0, 3.0, 0.0]))
    count = 40_000
    found = draw(count, torch.Generator().manual_seed(0)).bincount(minlength=5)
    assert found[[0, 2, 4]].tolist() == [0, 0, 0]
    # Binomial, 5 deviations.
    assert abs(found[3] / count - 0.75) < 5 * math.sqrt(0.75 * 0.25 / count)


def test_drawing_rows_equals_weighing_them():
    """The mean over drawn rows is the weighted mean, up to the mean weight."""
    generator = torch.Generator().manual_seed(1)
    own = torch.rand(50, generator=generator) ** 3
    loss = torch.randn(50, generator=generator)
    drawn = loss[Proportional(own)(200_000, generator)]
    weighted = (own * loss).mean() / own.mean()
    assert drawn.mean().item() == pytest.approx(
        weighted.item(), abs=5 * drawn.std().item() / math.sqrt(200_000)
    )


@pytest.mark.parametrize("own", [[0.0, 0.0], [1.0, math.inf], [1.0, math.nan]])
def test_weights_that_leave_nothing_are_refused(own):
    with pytest.raises(ValueError, match="nothing to imitate"):
        Proportional(torch.tensor(own))
