import math

import pytest
import torch

from guided import Rng
from guided.denoiser import NetDenoiser
from guided.guidance.training import dropped, with_dropout
from guided.train import TrainConfig, train
from tests.guided import joint_line as line

N = 40_000
NULLS = {"goal": torch.zeros_like, "style": lambda c: {"k": torch.full_like(c["k"], 9)}}


def conditions(n=N):
    return {
        "goal": torch.arange(1.0, n + 1)[:, None].expand(n, 2),
        "style": {"k": torch.arange(n) % 3},
        "map": torch.ones(n),
    }


def test_each_condition_is_dropped_alone_at_its_rate():
    rates = {"goal": 0.3, "style": 0.1}
    cond = conditions()
    found = dropped(cond, NULLS, rates, Rng(0))
    goal, style = (found["goal"] == 0).all(1), found["style"]["k"] == 9
    for chosen, rate in ((goal, 0.3), (style, 0.1), (goal & style, 0.03)):
        error = math.sqrt(rate * (1 - rate) / N)
        assert chosen.double().mean().item() == pytest.approx(rate, abs=4 * error)
    assert torch.equal(found["goal"][~goal], cond["goal"][~goal])
    assert torch.equal(found["style"]["k"][~style], cond["style"]["k"][~style])
    assert found["map"] is cond["map"]


def test_rate_zero_keeps_all_and_one_keeps_none():
    cond = conditions(100)
    before = cond["goal"].clone()
    found = dropped(cond, NULLS, {"goal": 0.0, "style": 1.0}, Rng(0))
    assert torch.equal(found["goal"], before)
    assert (found["style"]["k"] == 9).all()
    assert torch.equal(cond["goal"], before) and (cond["style"]["k"] < 3).all()


def test_a_row_depends_on_its_own_stream():
    rates = {"goal": 0.5, "style": 0.5}
    together = dropped(conditions(5), NULLS, rates, Rng(range(5)))
    for i in range(5):
        own = {"goal": conditions(5)["goal"][i : i + 1], "style": {"k": torch.tensor([i % 3])}}
        alone = dropped(own, NULLS, rates, Rng([i]))
        assert torch.equal(alone["goal"][0], together["goal"][i])
        assert torch.equal(alone["style"]["k"][0], together["style"]["k"][i])


@pytest.mark.parametrize(
    ("rates", "match"),
    [
        ({"colour": 0.1}, r"condition 'colour', but there are conditions \['goal', 'map', 'style'"),
        ({"map": 0.1}, r"condition 'map', .* nulls \['goal', 'style'\]; name one that has both"),
        ({"goal": 1.5}, r"rate of 'goal' is a probability in \[0, 1\], got 1.5"),
    ],
)
def test_impossible_rates_are_refused(rates, match):
    with pytest.raises(ValueError, match=match):
        dropped(conditions(3), NULLS, rates, Rng(0))


def test_a_network_trained_with_dropout_knows_both_laws():
    """Joint Gaussians, everything affine: both posterior means in closed form."""
    model = NetDenoiser(line.Line(), line.OneLevel(), "x0")
    config = TrainConfig(steps=150, lr=0.1, warmup=5, weight_decay=0.0, log_every=150)
    list(train(model, with_dropout(line.batch, {"c": torch.zeros_like}, {"c": 0.3}), config))
    exact = (line.ALONE, line.GIVEN, 1 - line.GIVEN * line.ALPHA)
    assert model.net.coefficients() == pytest.approx(exact, abs=0.03)
