"""``guided-bench safe``: the plain ways act and learn as ours, and the command runs."""

import json
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import torch

from domains.rl.bench.original import OriginalActing, OriginalActor, UnhoistedActing, betas
from domains.rl.bench.safe_command import Safe
from domains.rl.bench.safe_problem import LARGE, acting_policy, risky, untrained
from domains.rl.model import ModelConfig
from domains.rl.safe.train import SafeRun, SafeTraining
from guided import Rng
from guided.bench import cli
from guided.bench.turns import table
from guided.train import TrainConfig, train

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
STATES = 7


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    """A policy that has seen data for a moment, so that actions are within bounds."""
    config = SafeTraining(model=ModelConfig(width=16))
    run = SafeRun(risky(2, 50, STATES, 0), config, tmp_path_factory.mktemp("run"))

    def batch(_, generator):
        i = torch.randint(100, (64,), generator=generator)
        return run.scaled.actions[i], run.scaled.states[run.scaled.at[i]]

    for state in train(run.behaviour, batch, TrainConfig(steps=150, lr=3e-3, warmup=5, ema=0.5)):
        run.behaviour.load_state_dict(state.ema)
    return run.policy(steps=5, candidates=16)


def observations(count):
    return np.random.default_rng(0).normal(size=(count, STATES)).astype(np.float32)


@pytest.mark.parametrize("count", [1, 5])
def test_without_hoisting_the_actions_are_ours(policy, count):
    obs = observations(count)
    ours = policy.act(obs, seed=3)
    np.testing.assert_allclose(UnhoistedActing(policy).act(obs, Rng(3)), ours, atol=2e-5)
    assert (np.abs(ours) < 0.99).mean() > 0.3  # clipped actions would agree whatever happens
    assert np.abs(ours - policy.act(obs, seed=4)).max() > 1e-3


def test_the_originals_schedule_is_the_published_one():
    """Five steps between 0.1 and 10, as its code prints them to four digits."""
    assert betas() == pytest.approx([0.1959, 0.4588, 0.6358, 0.7549, 0.8350], abs=6e-5)
    kept = np.cumprod(1 - np.array(betas()))
    assert kept == pytest.approx([0.8041, 0.4352, 0.1585, 0.0389, 0.0064], abs=6e-5)


def test_the_originals_network_is_as_large_as_published():
    """1,652,514 weights in all with the states and actions of a car among hazards."""
    count = sum(weight.numel() for weight in OriginalActor(60, 2).parameters())
    assert count == 1_652_514


def test_the_original_takes_the_candidate_of_the_least_q_h(policy):
    own, obs = OriginalActing(policy), observations(4)
    seen = []

    def slow_values(states, actions):
        seen.append((states, actions))
        return None, (actions - 0.3).abs().sum(1)

    own.critics.slow_values = slow_values
    found = own.act(obs, Rng(0))
    ((states, actions),) = seen
    assert states.shape == (64, STATES) and actions.abs().max() <= 1
    torch.testing.assert_close(states[::16], own.normaliser.states(torch.from_numpy(obs)))
    rows = own.normaliser.actions_back(actions).numpy().reshape(4, 16, 2)
    best = np.abs(actions.numpy().reshape(4, 16, 2) - 0.3).sum(2).argmin(1)
    np.testing.assert_allclose(found, rows[np.arange(4), best], rtol=1e-6)


def test_the_large_network_multiplies_as_much_as_the_original(tmp_path):
    ours = acting_policy(risky(2, 5, STATES, 0), tmp_path, 0, LARGE).networks.behaviour.net
    theirs = OriginalActor(STATES, 2)
    own, other = (
        sum(layer.weight.numel() for layer in [*net.first, *net.second]) for net in (ours, theirs)
    )
    assert own == other


def test_some_rows_of_the_problem_weigh_nothing(tmp_path):
    own = untrained(risky(4, 100, 60, 0), tmp_path, 0).weigh()
    assert 0.1 < (own == 0).double().mean() < 0.5


def test_a_target_in_milliseconds():
    row = {"run": "a", "ms": 9.0, "least_ms": 8.0, "ratio": 1.0, "ratio_wall": 1.0, "saved": 0.0}
    case = {"what": "x", "rows": [row], "targets": [{"run": "a", "most_ms": 15.0}]}
    assert "kept   9.00 ms, at most 15" in table(case)
    row["ms"] = 15.5
    assert "MISSED 15.50 ms, at most 15" in table(case)


def test_the_entry_point_is_the_command():
    points = tomllib.loads(PYPROJECT.read_text())["project"]["entry-points"][cli.GROUP]
    assert cli.loaded(EntryPoint("safe", points["safe"], cli.GROUP)) is Safe


def test_the_command_measures_everything(tmp_path, capsys):
    threads, path = torch.get_num_threads(), tmp_path / "new" / "speed.json"
    Safe(quick=True, json=path).run()
    torch.set_num_threads(threads)
    printed, figures = capsys.readouterr().out, json.loads(path.read_text())
    assert figures["command"] == "guided-bench safe" and figures["options"]["quick"] is True
    assert len(figures["cases"]) == 8
    for case in figures["cases"]:
        assert case["what"] in printed
        names = [row["run"] for row in case["rows"]]
        assert all(target["run"] in names for target in case["targets"])
        assert all(name in printed for name in names)
    assert "kept" not in printed and "MISSED" not in printed


def test_numbers_out_of_range_are_refused():
    with pytest.raises(ValueError, match="at least 1 round"):
        Safe(rounds=0).run()
    with pytest.raises(ValueError, match="1 part, got 20, 1 and 0"):
        Safe(parts=()).run()
