"""``guided-bench rl``: the plain way gives the same results, and the command is found and runs."""

import json
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import torch

from domains.rl.bench.acting import acting
from domains.rl.bench.command import Offline
from domains.rl.bench.items import Items, PlainCritic, PlainEnergy, collated, indexed, plain_steps
from domains.rl.bench.learning import critic_columns, energy_columns
from domains.rl.bench.naive import PlainPolicy
from domains.rl.bench.problem import STATES, made_up, made_up_support, untrained
from guided import Rng
from guided.bench import cli
from guided.bench.turns import table, turns
from guided.guidance.denoise.cep import cep_loss
from guided.train import TrainConfig, train
from tests.commands import refused

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose behaviour has seen data for a moment, so that actions are within bounds."""
    run = untrained(made_up(2, 50, 0), tmp_path_factory.mktemp("run"), seed=0)
    loop = TrainConfig(steps=60, lr=3e-3, warmup=5, ema=0.5)

    def batch(_, generator):
        i = torch.randint(100, (64,), generator=generator)
        return run.scaled.actions[i], run.scaled.states[run.scaled.at[i]]

    for state in train(run.behaviour, batch, loop):
        run.behaviour.load_state_dict(state.ema)
    return run


@pytest.fixture
def learner(tmp_path):
    """A run of one's own: a policy freezes its networks."""
    return untrained(made_up(2, 50, 0), tmp_path, seed=0)


@pytest.fixture
def support(learner):
    return made_up_support(learner.data, 1)


@pytest.mark.parametrize(
    "savings",
    [(), ("gradient",), ("schedule",), ("times",), ("states",), ("schedule", "times", "states")],
)
@pytest.mark.parametrize("count", [1, 7])
def test_the_plain_policy_acts_as_ours(run, savings, count):
    policy = run.policy(steps=15, scale=3.0)
    obs = np.random.default_rng(0).normal(size=(count, STATES)).astype(np.float32)
    ours = policy.act(obs, seed=0)
    assert (np.abs(ours) < 0.99).mean() > 0.3  # clipped actions would agree whatever happens
    assert np.abs(ours - policy.act(obs, seed=0, scale=0.0)).max() > 1e-3
    plain = PlainPolicy(policy, savings).act(obs, 0)
    np.testing.assert_allclose(plain, ours, rtol=0, atol=2e-5)


def test_the_plain_policy_refuses_what_it_cannot_do(run):
    policy = run.policy()
    with pytest.raises(ValueError, match="unknown savings magic"):
        PlainPolicy(policy, ("magic",))
    policy.networks.__dict__["energy"] = None
    with pytest.raises(ValueError, match="has none; train one"):
        PlainPolicy(policy)


def gradients(loss, module):
    return torch.autograd.grad(loss.mean(), [p for p in module.parameters() if p.requires_grad])


def test_the_plain_critic_has_our_loss_and_gradient(learner, support):
    batch = next(indexed(critic_columns(learner, support), 32, 0))
    plain = PlainCritic(learner.critic)
    for _ in range(2):  # the second one knows the spread, and slow critics that moved
        theirs = plain.loss(batch, Rng(0))
        ours = learner.critic.loss(batch["action"], batch)
        torch.testing.assert_close(theirs, ours, **CLOSE)
    first, bias = gradients(theirs, plain)[:2]
    context, query, ours_bias = gradients(ours, learner.critic)[:3]
    named = [name for name, p in learner.critic.named_parameters() if p.requires_grad][:3]
    assert named == ["net.context", "net.query", "net.bias"]
    torch.testing.assert_close(first.T, torch.cat([context[0], query[0]]), **CLOSE)
    torch.testing.assert_close(bias, ours_bias[0, 0], **CLOSE)


@pytest.mark.parametrize("valued", [False, True])
def test_the_plain_energy_has_our_loss_and_gradient(learner, support, valued):
    columns = energy_columns(learner, support)
    batch = next(indexed(columns, 32, 0))
    critic = PlainCritic(learner.critic) if valued else None
    plain = PlainEnergy(learner.energy, "self", critic, learner.config.beta)
    if valued:
        batch["energy_was"] = batch.pop("energy")
    theirs = plain.loss(batch, Rng(3))
    energies = batch["energy_was" if valued else "energy"]
    ours = cep_loss(learner.energy, batch["support"], energies, batch["state"], Rng(3), "self")
    torch.testing.assert_close(theirs, ours, **CLOSE)
    for a, b in zip(gradients(theirs, plain.energy), gradients(ours, learner.energy), strict=True):
        torch.testing.assert_close(a, b, **CLOSE)


def test_collation_gives_every_item_once_and_whole():
    columns = {"a": torch.arange(12), "b": torch.arange(24).reshape(12, 2)}
    feed = collated(columns, 4, 0)
    batches = [next(feed) for _ in range(3)]
    seen = torch.cat([batch["a"] for batch in batches])
    assert sorted(seen.tolist()) == list(range(12)) and seen.tolist() != list(range(12))
    for batch in [*batches, next(indexed(columns, 4, 0))]:
        torch.testing.assert_close(batch["b"], columns["b"][batch["a"]])
    assert len(Items(columns)) == 12


def test_plain_steps_learn(learner, support):
    plain = PlainCritic(learner.critic)
    columns = critic_columns(learner, support)
    steps = plain_steps(plain, indexed(columns, 32, 0), plain.loss, 3e-3, 10)
    before = plain.loss(columns, Rng(0)).mean()
    for _ in range(3):
        next(steps)
    assert plain.loss(columns, Rng(0)).mean() < before


def test_ratios_are_to_the_first_run_within_a_round():
    rows = turns({"long": lambda: sum(range(400_000)), "short": lambda: sum(range(40_000))}, 5, 2)
    long, short = rows
    assert long["ratio"] == 1 and long["saved"] == 0
    assert 5 < short["ratio"] < 20
    assert short["saved"] == pytest.approx(1 - 1 / short["ratio"], abs=0.05)
    assert 0 < short["least_ms"] <= short["ms"] < long["ms"]


def test_a_case_is_judged_by_its_own_row():
    row = {"ms": 1.0, "least_ms": 1.0, "ratio": 2.5, "ratio_wall": 2.0, "saved": 0.6}
    case = {"what": "x", "rows": [{"run": "a", **row}], "targets": [{"run": "a", "least": 2.0}]}
    assert "kept   2.50 times faster, at least 2.0" in table(case)
    case["targets"][0]["least"] = 3.0
    assert "MISSED" in table(case)
    assert "MISSED" not in table(case, judged=False)


def test_acting_judges_our_policy(run):
    case = acting(run.policy(steps=3), batch=1, rounds=1, seed=0)
    assert case["targets"][0]["run"] == case["rows"][-1]["run"]


def entry() -> EntryPoint:
    points = tomllib.loads(PYPROJECT.read_text())["project"]["entry-points"][cli.GROUP]
    return EntryPoint("rl", points["rl"], cli.GROUP)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """What makes a package with commands of guided-bench that importlib finds."""

    def install(**commands):
        info = tmp_path / "guided-0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: guided\nVersion: 0\n")
        lines = [f"{name} = {value}" for name, value in commands.items()]
        (info / "entry_points.txt").write_text("\n".join([f"[{cli.GROUP}]", *lines]))
        monkeypatch.syspath_prepend(tmp_path)
        return tmp_path

    return install


def test_the_entry_point_is_the_command():
    assert cli.loaded(entry()) is Offline


def test_the_command_is_found_and_keeps_all_figures(installed, tmp_path, capsys):
    installed(rl=entry().value)
    threads, path = torch.get_num_threads(), tmp_path / "new" / "speed.json"
    cli.main(["rl", "--quick", "--json", str(path)])
    torch.set_num_threads(threads)
    printed, figures = capsys.readouterr().out, json.loads(path.read_text())
    assert len(figures["cases"]) == 5
    for case in figures["cases"]:
        assert case["what"] in printed
        for row in case["rows"]:
            assert row["run"] in printed
            assert row["ratio"] > 0
    apart, once = (figures["cases"][-1]["rows"][i]["drawn"] for i in (0, -1))
    assert (apart, once) == (16 * 40, 16 * 22)  # 20 transitions of 2 episodes
    assert "kept" not in printed and "MISSED" not in printed


def test_a_command_that_does_not_load_is_one_sentence_and_no_trouble_to_others(
    installed, tmp_path, capsys
):
    installed(absent="no_such_package.bench:Bench", broken="broken_bench:Bench", rl=entry().value)
    (tmp_path / "broken_bench.py").write_text("raise RuntimeError('of\\nmany lines')")
    message = refused(cli.main, ["absent"], capsys)
    assert "'absent' cannot be loaded from no_such_package.bench" in message
    assert "'broken' cannot be loaded from broken_bench (of)" in refused(
        cli.main, ["broken"], capsys
    )
    assert "at least 1 round" in refused(cli.main, ["rl", "--rounds", "0"], capsys)
    assert "at least 1, got 0" in refused(cli.main, ["speed", "--threads", "0"], capsys)
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    listed = capsys.readouterr().out
    assert all(name in listed for name in ("absent", "broken", "rl", "speed"))
