"""Safe baselines, trained where the safe choice is known."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from baselines.rl import bc_safe, bcq_lag, cpq
from baselines.rl.bc_safe import BCSafeConfig
from baselines.rl.bcq_lag import BCQLagConfig
from baselines.rl.cpq import CPQ, CPQConfig
from baselines.rl.limit import costed
from baselines.rl.nets import follow
from guided.rng import Rng, initial_weights
from guided.train import TrainConfig
from tests.baselines.corridor import RISKY, SAFE, acted, corridor, finished


def small(config, **changes):
    loop = TrainConfig(400, batch=64, lr=3e-3, weight_decay=0.0, clip=math.inf, log_every=100)
    return replace(config, hidden=(32, 32), loop=loop, gamma=0.8, tau=0.05, **changes)


def test_cpq_values_what_keeps_out_of_danger_more_than_what_earns_more() -> None:
    """Of a policy that is as often safe as not, by hand, in units of a step in safety (of 4).

    Danger earns 5 / 4 and costs 1 in every step, 5 in all; a safe action costs what danger does
    after it, 0.8 * 0.5 * 5 / (1 - 0.4) = 3.3. With a limit between these it earns 1 / (1 - 0.4),
    or 5 / 3, and a risky one 5 / 4; without a limit they earn 35 / 6 and 25 / 4.
    """
    for limit, expected in ((4.2, (5 / 3, 5 / 4)), (1e6, (35 / 6, 25 / 4))):
        safe, risky = critics_of_a_fixed_policy(limit)
        assert safe == pytest.approx(4 * expected[0], rel=0.1)
        assert risky == pytest.approx(4 * expected[1], rel=0.1)
        assert (safe > risky) == (limit < 5)


def critics_of_a_fixed_policy(limit: float) -> tuple[float, float]:
    """Return CPQ's values of the safe and the risky action in safety."""
    transitions = costed(corridor(gain=0.25), 0.8)
    draw = transitions.batches(TrainConfig(batch=128))
    with initial_weights(0):
        model = CPQ(*transitions.sizes, CPQConfig(gamma=0.8, hidden=(32, 32)), limit)
    model.draw = lambda states, rng: torch.where(rng.normal((len(states), 1)) > 0, RISKY, SAFE)
    optimizer = torch.optim.Adam([*model.q.parameters(), *model.q_c.parameters()], 3e-3)
    for step in range(500):
        for slow, fast in ((model.slow_q, model.q), (model.slow_q_c, model.q_c)):
            follow(slow, fast, 0.1)
        generator = torch.Generator().manual_seed(step)
        optimizer.zero_grad()
        model.critic_loss(*draw(step, generator), Rng.wrap(generator)).mean().backward()
        optimizer.step()
    state = transitions.normaliser.states(torch.zeros(1, 2))
    with torch.no_grad():
        found = model.q(state, torch.tensor([[[SAFE], [RISKY]]])).amin(0)
    return found[0, 0].item(), found[0, 1].item()


def trained(method: str, limit: float):
    data = corridor()
    if method == "bc_safe":
        config = BCSafeConfig(limit, (32, 32), small(CPQConfig()).loop)
        return finished(bc_safe.train(data, config))
    if method == "cpq":
        return finished(cpq.train(data, small(CPQConfig(cost_limit=limit))))
    own = small(BCQLagConfig(cost_limit=limit, gains=(5.0, 0.1, 0.0), beta=0.005))
    return finished(bcq_lag.train(data, own))


@pytest.mark.parametrize("method", ["bc_safe", "bcq_lag"])
def test_with_a_tight_limit_they_take_the_safe_way(method) -> None:
    assert acted(trained(method, 1.0)).mean() < -0.2


@pytest.mark.parametrize("method", ["cpq", "bcq_lag"])
def test_without_a_limit_those_with_values_take_what_earns_more(method) -> None:
    assert acted(trained(method, 1e6)).mean() > 0.2


@pytest.mark.parametrize("module", [cpq, bcq_lag])
def test_a_resumed_run_ends_in_the_same_bits(module, tmp_path) -> None:
    own = CPQConfig if module is cpq else BCQLagConfig
    config = small(own(cost_limit=1.0))
    config = replace(config, loop=replace(config.loop, steps=9, save_every=4, log_every=1))
    whole = finished(module.train(corridor(), config, tmp_path / "whole"))
    stopped = module.train(corridor(), config, tmp_path / "cut")
    while next(stopped).done < 6:
        pass
    stopped.close()
    resumed = finished(module.train(corridor(), config, tmp_path / "cut"))
    np.testing.assert_array_equal(acted(whole), acted(resumed))


@pytest.mark.parametrize(
    ("config", "wrong"),
    [
        *[
            (config, {"cost_limit": limit})
            for config in (BCSafeConfig, CPQConfig, BCQLagConfig)
            for limit in (-1.0, math.inf, math.nan)
        ],
        *[
            (config, {name: value})
            for config in (CPQConfig, BCQLagConfig)
            for name, value in (("gamma", 0.0), ("tau", 1.5), ("samples", 0), ("beta", -1.0))
        ],
        *[(config, {"hidden": ()}) for config in (BCSafeConfig, CPQConfig, BCQLagConfig)],
        (CPQConfig, {"outside": 0.0}),
        (CPQConfig, {"margin": -1.0}),
        (BCQLagConfig, {"pessimism": 1.5}),
        (BCQLagConfig, {"candidates": 0}),
        (BCQLagConfig, {"gains": (0.1, -0.1, 0.0)}),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else str(value),
)
def test_numbers_out_of_range_are_told_at_once(config, wrong) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"{name}.* got .*{re.escape(str(value))}"):
        config(**wrong)
