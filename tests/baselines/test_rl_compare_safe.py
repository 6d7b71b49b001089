"""The comparison of safe methods: a smoke run, what it keeps, says and refuses."""

import json
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
import torch

from baselines.rl.compare_safe import main
from baselines.rl.contest_safe import baseline, items, ours
from baselines.rl.cpq import CPQConfig
from baselines.rl.table_safe import (
    best_safe,
    criterion,
    markdown,
    row,
    summary,
    summary_markdown,
    told,
)
from domains.rl.commands.collect import Collect
from domains.rl.data.sources import load_data
from domains.rl.safe.train import SafeTraining
from tests.commands import refused
from tests.rl.logged import made, walk

DATA = "guided/pointrobot-quick-v0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("safe")


@pytest.fixture
def robots(folder, monkeypatch) -> str:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(folder / "data"))
    if not (folder / "data").exists():
        Collect("pointrobot/drivers", id=DATA, quick=True).run()
    return DATA


def test_the_comparison_runs_resumes_and_says_what_is_safe(robots, tmp_path, capsys) -> None:
    threads, path, out = torch.get_num_threads(), tmp_path / "found.json", tmp_path / "out"
    call = [robots, "--quick", "--seeds", "0", "1", "--cost-limit", "1000", "--out", str(out)]
    capsys.readouterr()
    main([*call, "--json", str(path)])
    printed, first = capsys.readouterr().out, json.loads(path.read_text())
    assert "guided/pointrobot-quick-v0, self-generated data: 2 seeds of 2 episodes" in printed
    rows = first["rows"][robots]
    titles = ["BC (all data)", "BC-Safe", "CPQ", "BCQ-Lag"]
    titles += ["FISOR, safest", "FISOR, best admissible", "FISOR, chosen threshold"]
    assert [own["policy"] for own in rows.values()] == titles
    low, high = load_data(robots).reference
    for name, own in rows.items():
        tests = [result["test"] for result in first["results"][robots][name]]
        returns = [r for test in tests for r in test["returns"]]
        costs = [c for test in tests for c in test["costs"]]
        assert len(costs) == 4
        score = (sum(returns) / 4 - low) / (high - low)
        assert own["reward"]["value"] == pytest.approx(score)
        assert own["normalised_cost"]["value"] == pytest.approx(sum(costs) / 4 / 1000)
        assert f"| {own['policy']} | {score:.3f}" in printed
    # Nothing costs more than 1000, so all are safe: with one limit BC-Safe is BC, and best is best.
    assert rows["bc_safe"]["return"] == rows["bc"]["return"]
    assert all(own["safe"] for own in rows.values())
    assert printed.count(" <- best of the safe") == 2
    assert "FISOR, safest: cost / limit" in printed
    assert first["configs"]["cpq"]["cost_limit"] == 1000
    for result in first["results"][robots]["fisor_tuned"]:
        assert result["setting"] == max(result["chosen_by"], key=result["chosen_by"].get)
    # All FISOR policies are of one training, and nothing is trained again.
    trained = {p: p.stat().st_mtime_ns for p in out.rglob("*.pt")}
    assert trained
    assert not list(out.rglob("fisor_best/*")) and not list(out.rglob("fisor_tuned/*"))
    kept = {p: p.stat().st_mtime_ns for p in out.rglob("seed-*/*.json")}
    main([*call, "--json", str(path)])
    assert json.loads(path.read_text())["results"] == first["results"]
    assert {p: p.stat().st_mtime_ns for p in kept} == kept
    # Other ways to pick actions are played again, with the same training.
    main([*call, "--json", str(path), "--methods", "bc", "fisor", "--candidates", "2"])
    second = json.loads(path.read_text())["results"][robots]
    assert second["bc"] == first["results"][robots]["bc"]
    assert second["fisor"][0]["seconds"] == first["results"][robots]["fisor"][0]["seconds"]
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*.pt")} == trained
    assert "another configuration" in refused(main, [*call, "--cpq.samples", "3"], capsys)
    torch.set_num_threads(threads)


@pytest.mark.slow
def test_processes_find_what_one_process_finds(robots, tmp_path) -> None:
    found = []
    for jobs in ("1", "2"):
        path = tmp_path / f"{jobs}.json"
        call = [robots, "--quick", "--seeds", "0", "--cost-limit", "1000", "--jobs", jobs]
        main([*call, "--out", str(tmp_path / jobs), "--json", str(path)])
        own = json.loads(path.read_text())["results"][robots]
        found.append({name: [r["test"] for r in results] for name, results in own.items()})
    assert found[0] == found[1]


def test_what_shares_a_training_is_one_item() -> None:
    who = [ours("fisor", SafeTraining(), 4, 5.0), baseline("cpq", CPQConfig())]
    who.append(ours("fisor_best", SafeTraining(), 4, 5.0))
    tasks = ["one", "two"]
    found = items(tasks, who, (0, 5))
    assert len(found) == 8
    assert [(i.task, i.seed, [c.name for c in i.who]) for i in found[:4]] == [
        ("one", 0, ["fisor", "fisor_best"]),
        ("one", 0, ["cpq"]),
        ("one", 5, ["fisor", "fisor_best"]),
        ("one", 5, ["cpq"]),
    ]
    assert who[0].settings(3) == {**who[2].settings(3), "threshold": None}
    assert who[2].settings(3)["training"]["critic_loop"]["seed"] == 3


def test_mistakes_are_told_in_a_sentence(robots, tmp_path, monkeypatch, capsys) -> None:
    out = ["--out", str(tmp_path / "out"), "--quick"]
    for wrong, said in (
        (["--methods", "ddpg"], "unknown methods ddpg"),
        (["--methods", "bc", "bc"], "every method once, and at least one, got bc, bc"),
        (["--episodes", "0"], "at least 1"),
        (["--jobs", "0"], "at least 1"),
        (["--seeds", "1", "1"], "different seeds"),
        (["--cost-limit", "-1"], "cost_limit >= 0, got -1"),
    ):
        assert said in refused(main, [robots, *out, *wrong], capsys)
    assert "every data set once" in refused(main, [robots, robots, *out], capsys)
    assert "no Minari data set" in refused(main, ["guided/none-v0", *out], capsys)
    assert not (tmp_path / "out" / "guided-none-v0").exists()


def test_data_without_costs_are_refused(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "data"))
    env = gym.make("Pendulum-v1", max_episode_steps=4)
    made("guided/pendulum-mixed-v0", [walk(env, 4, seed) for seed in range(2)], env)
    said = refused(main, ["guided/pendulum-mixed-v0", "--out", str(tmp_path / "out")], capsys)
    assert "guided/pendulum-mixed-v0 has no costs" in said


def result(returns, costs):
    return {"test": {"returns": returns, "costs": costs}, "seconds": {"wall": 1.0, "cpu": 2.0}}


def rows() -> dict:
    found = {
        "bc": row("BC", [result([8.0, 6.0], [12.0, 0.0])], 5.0, (2.0, 12.0)),
        "bc_safe": row("BC-Safe", [result([4.0, 4.0], [5.0, 5.0])], 5.0, (2.0, 12.0)),
        "fisor": row("FISOR", [result([6.0, 5.0], [0.0, 4.0])], 5.0, (2.0, 12.0)),
    }
    return found


def test_a_row_by_hand() -> None:
    own = rows()["bc"]
    assert own["reward"]["value"] == pytest.approx(0.5)
    assert own["return"]["value"] == 7
    assert own["cost"]["value"] == 6
    assert own["normalised_cost"]["value"] == pytest.approx(1.2)
    assert own["violation"]["value"] == own["over_limit"]["value"] == 0.5
    assert own["safe"] is False
    at_limit = rows()["bc_safe"]
    assert at_limit["safe"] is True
    assert at_limit["violation"]["value"] == 1
    assert at_limit["over_limit"]["value"] == 0
    assert row("x", [result([1.0], [0.0])], 0.0, None)["reward"]["value"] == 1
    assert row("x", [result([1.0], [0.0])], 0.0, None)["safe"] is True


def test_the_best_is_the_best_of_the_safe() -> None:
    table = markdown(rows())
    assert best_safe(rows()) == "fisor"
    (marked,) = [line for line in table.splitlines() if "<- best" in line]
    assert marked.startswith("| FISOR | 0.350 (")
    assert "| NO |" in table.splitlines()[2]
    assert best_safe({"bc": rows()["bc"]}) is None
    assert "<-" not in markdown({"bc": rows()["bc"]})


def test_the_criterion_is_less_than_the_limit_and_more_than_every_safe_baseline() -> None:
    own = rows()
    found = criterion(own, "fisor", ["bc", "bc_safe"])
    assert found == {
        "under": True, "above": True, "met": True, "safe_baselines": {"bc_safe": pytest.approx(0.2)}
    }  # fmt: skip
    assert told("FISOR", own["fisor"], found, own) == (
        "FISOR: cost / limit 0.40 is under 1, reward 0.350 is above every safe baseline "
        "(BC-Safe 0.200)"
    )
    own["bc"]["safe"] = True  # whose reward is 0.5
    assert not criterion(own, "fisor", ["bc", "bc_safe"])["met"]
    at_limit = criterion(own, "bc_safe", [])
    assert (at_limit["under"], at_limit["above"], at_limit["met"]) == (False, True, False)


def test_the_summary_weighs_tasks_alike() -> None:
    one, two = rows(), rows()
    two["fisor"] = row("FISOR", [result([7.0], [10.0])], 5.0, (2.0, 12.0))
    found = {own["policy"]: own for own in summary({"one": one, "two": two})}
    assert found["FISOR"]["reward"] == pytest.approx((0.35 + 0.5) / 2)
    assert found["FISOR"]["normalised_cost"] == pytest.approx((0.4 + 2) / 2)
    assert found["FISOR"]["worst"] == 2
    assert (found["FISOR"]["safe_tasks"], found["BC-Safe"]["safe_tasks"]) == (1, 2)
    lines = summary_markdown(list(found.values())).splitlines()
    assert next(line for line in lines if "<- best" in line).startswith("| BC-Safe | 0.200")


def test_a_threshold_is_chosen_for_its_limit() -> None:
    """The largest return of those that cost at most half of the limit; else the least cost."""
    tuned = ours("fisor_tuned", SafeTraining(), 4, 6.0)
    assert tuned.config.limit == 6 and "limit" in tuned.sampling

    def games(total, cost):
        return SimpleNamespace(returns=np.array([total]), costs=np.array([cost]))

    merit = tuned.knob.merit
    assert merit(games(5.0, 3.0)) == 5
    assert merit(games(5.0, 3.0)) > merit(games(4.0, 0.0)) > merit(games(-1e5, 0.0))
    assert merit(games(-1e5, 0.0)) > merit(games(9.0, 3.5)) > merit(games(9.0, 4.0))
    assert ours("fisor", SafeTraining(), 4, 6.0).config.limit is None
