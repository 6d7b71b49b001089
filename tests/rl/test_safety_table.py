"""``guided-rl evaluate`` where there are costs: the table, the figures, and what it refuses."""

import json

import numpy as np
import pytest
import torch

from domains.rl.cli import main
from domains.rl.critics.critic import Critic, CriticConfig
from domains.rl.data.normalise import Normaliser
from domains.rl.environments import make
from domains.rl.episodes import Episodes
from domains.rl.evaluate import Trials, evaluate
from domains.rl.model import ModelConfig, behaviour
from domains.rl.networks import Networks
from domains.rl.policy import DiffusionPolicy, Sampling
from domains.rl.safe.table import safety, table
from guided.rng import initial_weights
from tests.commands import refused

COSTS = np.array([0.0] * 6 + [2, 4, 10, 24])


def episodes(costs=COSTS, margins=None):
    zeros, hit = np.zeros(len(costs)), np.asarray(costs) > 0
    return Episodes(
        zeros, zeros, zeros.astype(int), zeros.astype(bool), None, zeros[:, None], None,
        costs, hit.astype(int), np.where(hit, 6, -1), margins,
    )  # fmt: skip


def test_figures_by_hand():
    found = safety(episodes(margins=np.r_[np.nan, np.full(9, -0.5)]), (4, 5, 0))
    assert found["cost"]["value"] == 4 and found["cvar10"] == 24
    assert found["violation"]["value"] == 0.4
    assert found["first_violation"]["median"] is None
    assert found["first_violation"]["median_of_violating"] == 7
    assert found["worst_margin"] == -0.5
    against = found["limits"]
    assert list(against) == ["4", "5", "0"]
    assert [own["safe"] for own in against.values()] == [True, True, False]
    assert [own["normalised_cost"]["value"] for own in against.values()] == [1, 0.8, 5]
    json.dumps(found, allow_nan=False)


def test_no_costs_no_figures_and_no_violation_is_safe_at_limit_0():
    none = episodes()
    object.__setattr__(none, "costs", None)
    assert safety(none) is None
    clean = safety(episodes(np.zeros(5)), (0,))
    assert clean["limits"]["0"]["safe"] and clean["worst_margin"] is None


def test_the_table_says_what_is_safe():
    rows = {0.0: safety(episodes(), (0, 5)), 2.0: safety(episodes(3 * COSTS), (0, 5))}
    head, first, second, *notes = table(rows, "scale", 2.0).splitlines()
    assert head.index("cost / limit 0") < head.index("cost / limit 5")
    assert first.rstrip().endswith(" safe") and "UNSAFE" in first  # at 5, and at 0
    assert second.count("UNSAFE") == 2 and second.endswith("<- chosen")
    assert "never" in first and len(notes) == 3
    assert "(cost + 1) / 1" in notes[2] and "by return alone" in notes[1]


@pytest.fixture(scope="module")
def robots(tmp_path_factory):
    """Folders of untrained policies of the point robot: without any value, and with a critic."""
    folder = tmp_path_factory.mktemp("robots")
    model = ModelConfig(width=16, depth=1)
    normaliser = Normaliser(torch.zeros(11), torch.ones(11), -torch.ones(2), torch.ones(2))
    with initial_weights(0):
        own = behaviour(model, 11, 2)
        critic = Critic(11, 2, CriticConfig(hidden=(8,), fourier=4))
    for name, judge in (("bare", None), ("judged", critic)):
        networks = Networks(own, normaliser, judge, None, model)
        drawn = Sampling(steps=2, scale=0.0)
        policy = DiffusionPolicy(networks, drawn, environment="guided/PointRobot-v0")
        policy.save(folder / name)
    return folder


def test_a_policy_without_an_energy_is_evaluated_with_costs(robots, tmp_path, capsys):
    main(["evaluate", str(robots / "judged"), "--seed", "3", "--episodes", "20",
          "--max-steps", "15", "--cost-limits", "5", "0", "--json", str(tmp_path / "e.json"),
          "--pictures", str(tmp_path / "pictures")])  # fmt: skip
    said = capsys.readouterr().out
    assert "P(violation)" in said and "cost / limit 5" in said and "(cost + 1) / 1" in said
    facts = json.loads((tmp_path / "e.json").read_text())
    assert list(facts["scales"]) == ["0"] and facts["chosen"] is None
    found = facts["scales"]["0"]["safety"]
    policy = DiffusionPolicy.load(robots / "judged")
    again = evaluate(lambda: make("guided/PointRobot-v0"), policy, Trials(20, max_steps=15, seed=3))
    assert found["cost"]["value"] == again.costs.mean() > 0
    assert found["limits"]["5"]["normalised_cost"]["value"] == pytest.approx(again.costs.mean() / 5)
    assert found["worst_margin"] == again.worst_margin.max()
    assert {p.name for p in (tmp_path / "pictures").iterdir()} == {"scale.png", "calibration.png"}


def test_costs_are_told_without_limits_and_pictures_need_no_critic(robots, tmp_path, capsys):
    main(["evaluate", str(robots / "bare"), "--quick", "--pictures", str(tmp_path / "p")])
    said = capsys.readouterr().out
    assert "CVaR10" in said and "limit" not in said
    assert [p.name for p in (tmp_path / "p").iterdir()] == ["scale.png"]


def test_what_cannot_be_is_one_sentence(robots, capsys):
    policy = str(robots / "bare")
    cases = {
        ("--cost-limits", "-1"): "the cost limits [-1.0]; give finite numbers of at least 0",
        ("--cost-limits", "nan"): "the cost limits [nan]",
        ("--cost-limits", "5", "5"): "each once",
        ("--scales", "0", "1"): "without an energy, which acts at 0 alone",
    }
    for options, wanted in cases.items():
        assert wanted in refused(main, ["evaluate", policy, *options], capsys), options


def test_limits_where_no_costs_are_told_are_refused_before_anything_is_played(tmp_path, capsys):
    model = ModelConfig(width=16, depth=1)
    normaliser = Normaliser(torch.zeros(3), torch.ones(3), -2 * torch.ones(1), 2 * torch.ones(1))
    networks = Networks(behaviour(model, 3, 1), normaliser, None, None, model)
    policy = DiffusionPolicy(networks, Sampling(steps=2, scale=0.0), environment="Pendulum-v1")
    policy.save(tmp_path / "policy")
    command = ["evaluate", str(tmp_path / "policy"), "--cost-limits", "5"]
    assert "has no 'cost'; leave the limits out" in refused(main, command, capsys)
