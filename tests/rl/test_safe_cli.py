"""From a set with costs to a safe policy and its figures, by the command line."""

import json
from pathlib import Path

import numpy as np
import pytest

from domains.rl.cli import main
from domains.rl.policy import DiffusionPolicy
from domains.rl.safe import Shield, learned_danger, learned_value, shielded
from guided.rng import Rng
from tests.commands import refused
from tests.rl.logged import Corridor, episode, made

ROBOT = "guided/pointrobot-drivers-v0"
SMALL = ("--fisor.critics.hidden", "8", "--fisor.model.width", "8", "--fisor.model.depth", "1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("safe-cli")


@pytest.fixture
def trained(folder, monkeypatch):
    """A policy that learned next to nothing."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(folder / "data"))
    if not (folder / "run").exists():
        main(["collect", "pointrobot/drivers", "--quick"])
        main(["train", ROBOT, "--algo", "fisor", "--quick", "--out", str(folder / "run"), *SMALL])
    return str(folder / "run" / "policy")


def test_costs_are_set_against_limits_and_a_shield_beside_it(trained, tmp_path, capsys):
    out, pictures = tmp_path / "found.json", tmp_path / "pictures"
    rules = "--cost-limits", "5", "10", "--threshold", "-0.1", "--shield", "0"
    main(["evaluate", trained, "--quick", *rules, "--json", str(out), "--pictures", str(pictures)])
    said = capsys.readouterr().out
    assert "cost / limit 5" in said and "cost / limit 10" in said and "shield: " in said
    found = json.loads(out.read_text())
    assert found["candidates"] == 16 and found["threshold"] == -0.1
    assert found["origin"] == "self-generated"
    assert set(found["scales"]) == {"0", "shield"}
    assert found["shield"]["decisions"] == 2 * 20
    for own in found["scales"].values():
        assert set(own["safety"]["limits"]) == {"5", "10"}
    assert (pictures / "scale.png").exists()


def test_a_shield_evaluates_the_critics_once_a_decision(trained, monkeypatch):
    policy = DiffusionPolicy.load(Path(trained))
    obs = np.random.default_rng(0).normal(size=(5, 11)).astype(np.float32)
    apart = Shield(policy, learned_danger(policy), learned_value(policy), threshold=-0.1)
    wanted = [apart.act(obs, rng=Rng(seed)) for seed in (1, 2)]
    calls, judge = [], policy.networks.safety.judge
    monkeypatch.setattr(policy.networks.safety, "judge", lambda *x: calls.append(x) or judge(*x))
    guard = shielded(policy, -0.1)
    for seed, actions in zip((1, 2), wanted, strict=True):
        np.testing.assert_array_equal(guard.act(obs, rng=Rng(seed)), actions)
    assert len(calls) == 2


def test_one_limit_goes_by_the_singular(trained, capsys):
    main(["evaluate", trained, "--quick", "--cost-limit", "0"])
    assert "cost / limit 0" in capsys.readouterr().out


def test_mistakes_are_one_sentence(trained, tmp_path, capsys, monkeypatch):
    def said(*call):
        return refused(main, [*call], capsys)

    assert "finite" in said("evaluate", trained, "--cost-limits", "nan")
    assert "finite" in said("evaluate", trained, "--shield", "inf")
    assert "threshold must be a number" in said("evaluate", trained, "--threshold", "nan")
    assert "without an energy" in said("evaluate", trained, "--scales", "0", "2")
    train = ("train", ROBOT, "--algo", "fisor", "--quick", "--out", str(tmp_path / "a"))
    assert "leave out --fisor.seed" in said(*train, "--fisor.seed", "3")
    assert "--algo fisor has none of" in said(*train, "--curve", "2")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "data"))
    made("free-v0", [episode(range(3))] * 2, Corridor())
    assert "free-v0 has no costs and no margins" in said("train", "free-v0", "--algo", "fisor")


@pytest.mark.parametrize(
    ("infos", "note"),
    [
        ({"cost": np.zeros(4)}, "note: no costs of mine-v0 tell of a violation"),
        ({"cost": np.ones(4)}, "note: all costs of mine-v0 tell of violations"),
        ({"margin": np.array([-1, 0.5, 0.2, -2])}, ""),
    ],
)
def test_what_cannot_teach_is_said_and_margins_need_no_costs(
    infos, note, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "data"))
    made("mine-v0", [episode(range(3), infos=infos)] * 4, Corridor())
    out = str(tmp_path / "run")
    main(["train", "mine-v0", "--algo", "fisor", "--quick", "--out", out, *SMALL])
    said = capsys.readouterr().out
    assert note in said
    assert ("note:" in said) == bool(note)


def test_the_demo_draws_the_shipped_policys_set_and_ways(tmp_path, capsys):
    main(["demo", "point-robot", "--quick", "--out", str(tmp_path / "demo")])
    assert "feasible starts" in capsys.readouterr().out
    assert (tmp_path / "demo" / "feasible.png").stat().st_size > 50_000
    found = json.loads((tmp_path / "demo" / "figures.json").read_text())
    assert min(row["learned"]["iou"] for row in found["sets"]) > 0.95
    assert found["drives"]["feasible"]["violations"] == 0
