from math import inf

import numpy as np
import pytest
import torch
from scipy.stats import expectile

from domains.rl.critics.feasible import SafeCritics, SafetyConfig, expectile_loss
from guided.train import TrainConfig, train


def batch(**changes):
    parts = {
        "state": torch.zeros(1, 2),
        "reached": torch.ones(1, 2),
        "reward": torch.tensor([2.0]),
        "future": torch.tensor([1.0]),
        "now": torch.tensor([-0.5]),
        "next": torch.tensor([-0.2]),
        "discount": 0.9,
    }
    return {**parts, **{k: torch.tensor([v]) if k != "discount" else v for k, v in changes.items()}}


@pytest.mark.parametrize(
    ("changes", "ahead", "expected"),
    [
        # What comes is worse than now: (1 - g) h + g V(s').
        ({}, (10.0, 0.3), (2 + 0.99 * 10, 0.1 * -0.5 + 0.9 * 0.3)),
        # What comes is better than the state reached: its margin counts.
        ({}, (10.0, -0.4), (2 + 0.99 * 10, 0.1 * -0.5 + 0.9 * -0.2)),
        # Now is the worst of all.
        ({"now": 0.7}, (0.0, 0.3), (2.0, 0.7)),
        # After a terminal there is no future, but the state reached counts.
        ({"future": 0.0}, (10.0, 5.0), (2.0, 0.1 * -0.5 + 0.9 * -0.2)),
        ({"future": 0.0, "next": 0.6}, (10.0, 5.0), (2.0, 0.1 * -0.5 + 0.9 * 0.6)),
        # Labels of costs: h' = h, which is the original's rule.
        ({"now": -1.0, "next": -1.0}, (0.0, 8.0), (2.0, -0.1 + 0.9 * 8)),
        ({"now": 25.0, "next": 25.0, "future": 0.0}, (0.0, 99.0), (2.0, 25.0)),
        # Without a discount, the maximum.
        ({"discount": 1.0}, (0.0, 0.3), (2.0, 0.3)),
    ],
)
def test_targets_by_hand(changes, ahead, expected):
    critics = SafeCritics(2, 1, SafetyConfig())
    found = critics.targets(batch(**changes), torch.tensor(ahead)[:, None])
    assert found[:, 0].tolist() == pytest.approx(expected, rel=1e-5)


def test_judges_by_the_careful_one_of_each_pair():
    critics = SafeCritics(2, 1, SafetyConfig(hidden=(8,)))
    states, actions = torch.randn(5, 2), torch.randn(5, 3, 1)
    all_four = critics.slow(states, actions)
    q, q_h = critics.judge(states, actions)
    assert torch.equal(q, torch.minimum(all_four[0], all_four[1]))
    assert torch.equal(q_h, torch.maximum(all_four[2], all_four[3]))
    assert torch.equal(critics.q_h(states, actions), q_h)
    assert critics.v_h(states).shape == (5,)


def test_expectiles_lean_to_their_sides():
    """The minimiser of the loss is the expectile, found on a grid."""
    rng = np.random.default_rng(0)
    draws = torch.from_numpy(rng.normal(size=4001))
    grid = torch.linspace(-3, 3, 1201, dtype=torch.float64)
    upper = expectile_loss(draws - grid[:, None], 0.9).mean(1).argmin()
    lower = expectile_loss(grid[:, None] - draws, 0.9).mean(1).argmin()
    # The 0.9 expectile of a standard normal is 0.861.
    assert grid[upper].item() == pytest.approx(0.861, abs=0.05)
    assert grid[lower].item() == pytest.approx(-0.861, abs=0.05)


def corridor(count=4000, length=6):
    """A walk on 0..length: left, right or stay; h is positive at the right end, which is a trap.

    From place p on one may always stay or leave, but at ``length - 1`` every action leads right.
    """
    rng = np.random.default_rng(0)
    place = rng.integers(0, length + 1, count)
    move = rng.integers(-1, 2, count)
    move[place >= length - 1] = 1
    reached = (place + move).clip(0, length)
    h = np.where(np.arange(length + 1) == length, 1.0, -1.0)
    one_hot = torch.eye(length + 1)
    return {
        "action": torch.from_numpy(move[:, None]).float(),
        "state": one_hot[place],
        "reached": one_hot[reached],
        "reward": torch.from_numpy(-np.abs(reached - 2.0)).float(),
        "future": torch.ones(count),
        "now": torch.from_numpy(h[place]).float(),
        "next": torch.from_numpy(h[reached]).float(),
    }


def test_the_fixed_point_is_that_of_the_table():
    """Value iteration over the same transitions, with exact expectiles."""
    length, gamma, safety_gamma, tau = 6, 0.5, 0.9, 0.9
    columns = corridor()
    v, v_h = np.zeros(length + 1), np.zeros(length + 1)
    place, to = (columns[name].argmax(1).numpy() for name in ("state", "reached"))
    reward, now = columns["reward"].double().numpy(), columns["now"].double().numpy()
    worst = np.maximum(now, columns["next"].numpy())
    for _ in range(100):
        q = reward + gamma * v[to]
        q_h = (1 - safety_gamma) * now + safety_gamma * np.maximum(worst, v_h[to])
        v = np.array([expectile(q[place == p], tau) for p in range(length + 1)])
        v_h = np.array([expectile(q_h[place == p], 1 - tau) for p in range(length + 1)])
    assert (v_h[:5] < 0).all() and (v_h[5:] > 0).all()  # the place before the end is lost, too

    config = SafetyConfig(
        gamma=gamma, safety_gamma=safety_gamma, expectile=tau, safety_expectile=tau,
        hidden=(32,), tau=0.05,
    )  # fmt: skip
    torch.manual_seed(0)
    critics = SafeCritics(length + 1, 1, config)

    def draw(_, generator):
        i = torch.randint(4000, (128,), generator=generator)
        rows = {k: own[i] for k, own in columns.items()}
        return rows.pop("action"), {**rows, "discount": safety_gamma}

    loop = TrainConfig(2000, batch=128, lr=3e-3, weight_decay=0.0, clip=inf, ema=0.99)
    for state in train(critics, draw, loop, loss=critics.loss):
        last = state
    critics.load_state_dict(last.ema)
    with torch.no_grad():
        found = critics.v(torch.eye(length + 1)).numpy()
    np.testing.assert_allclose(found[1], v_h, atol=0.05)
    np.testing.assert_allclose(found[0], v, atol=0.1)


def test_half_precision_gives_about_the_same_loss():
    torch.manual_seed(0)
    critics = SafeCritics(2, 1, SafetyConfig(hidden=(16, 16)))
    exact = critics.loss(torch.ones(1, 1), batch())
    with torch.autocast("cpu", torch.bfloat16):
        rough = critics.loss(torch.ones(1, 1), batch())
    assert not torch.equal(exact, rough)
    torch.testing.assert_close(rough, exact, rtol=0.03, atol=0)


def test_the_discount_may_go_up():
    assert SafetyConfig().discount_at(0.7) == 0.99
    rising = SafetyConfig(safety_gamma=0.9, safety_gamma_end=0.999)
    assert rising.discount_at(0) == pytest.approx(0.9)
    assert rising.discount_at(0.5) == pytest.approx(0.99)
    assert rising.discount_at(1) == pytest.approx(0.999)
    assert SafetyConfig(safety_gamma=0.9, safety_gamma_end=1.0).discount_at(1) > 0.99999


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"gamma": 0.0}, "discounts and tau"),
        ({"safety_gamma_end": 1.1}, "discounts and tau"),
        ({"safety_expectile": 0.4}, "expectiles in"),
        ({"expectile": 1.0}, "expectiles in"),
        ({"label": 0.0}, "label > 0"),
        ({"floor": -1.0}, "floor > 0"),
        ({"hidden": ()}, "hidden layers"),
    ],
)
def test_settings_are_checked(changes, said):
    with pytest.raises(ValueError, match=said):
        SafetyConfig(**changes)
