"""The comparison of offline RL methods: a smoke run, what it keeps, and what it refuses."""

import importlib.util
import json
import shutil
from dataclasses import replace

import gymnasium as gym
import minari
import numpy as np
import pytest
import torch

from baselines.rl.compare import main
from baselines.rl.contest import Clock, with_seed
from baselines.rl.controller import controller_of, play
from baselines.rl.d3rlpy_check import main as d3rlpy_check
from baselines.rl.table import markdown, row
from baselines.rl.td3_bc import TD3BCConfig
from domains.rl.collect.presets import GOOD
from domains.rl.evaluate import Trials, evaluate
from domains.rl.train import Progress
from tests.commands import refused
from tests.rl.arenas import point_maze
from tests.rl.logged import made, walk


@pytest.fixture
def pendulum(tmp_path, monkeypatch) -> str:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "data"))
    env = gym.make("Pendulum-v1", max_episode_steps=8)
    made("guided/pendulum-mixed-v0", [walk(env, 8, seed) for seed in range(4)], env)
    return "guided/pendulum-mixed-v0"


def test_the_comparison_runs_resumes_and_keeps_its_choices(pendulum, tmp_path, capsys) -> None:
    threads, path = torch.get_num_threads(), tmp_path / "new" / "found.json"
    call = [pendulum, "--quick", "--seeds", "0", "1", "--scales", "0", "2", "--json", str(path)]
    call += ["--out", str(tmp_path / "out"), "--methods", "behaviour", "cep", "td3_bc", "sfbc"]
    main(call)
    printed = capsys.readouterr().out
    first = json.loads(path.read_text())
    assert [r["policy"] for r in first["rows"]][-1] == "the data's good controller"
    for name in ("CEP (ours)", "TD3+BC", "SfBC", "diffusion BC"):
        assert name in printed
    for own in first["results"]["cep"]:
        chosen_by = own["chosen_by"]
        assert set(chosen_by) == {"0", "2"}
        assert chosen_by[f"{own['setting']:g}"] == max(chosen_by.values())
        assert len(own["test"]["returns"]) == 2
        assert own["seconds"]["wall"] > 0
    kept = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.pt")}
    assert kept
    main(call)
    assert json.loads(path.read_text())["results"] == first["results"]
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.pt")} == kept
    # Another question about the same training: played again, not trained again.
    main([*call, "--steps", "1"])
    refusal = refused(main, [*call, "--td3-bc.alpha", "1"], capsys)
    assert "another configuration" in refusal
    torch.set_num_threads(threads)


def test_other_data_of_the_same_name_are_not_taken_for_these(pendulum, tmp_path, capsys) -> None:
    call = [pendulum, "--quick", "--seeds", "0", "--out", str(tmp_path / "out"), "--methods"]
    main([*call, "behaviour"])
    folder = tmp_path / "out" / "seed-0"
    minari.delete_dataset(pendulum)
    env = gym.make("Pendulum-v1", max_episode_steps=8)
    made(pendulum, [walk(env, 8, seed) for seed in range(9, 14)], env)
    assert "steps 32, not 40" in refused(main, [*call, "behaviour"], capsys)
    # Nor is the shared behaviour, by a method that has none of its own yet.
    assert "steps 32, not 40" in refused(main, [*call, "idql"], capsys)
    assert not (folder / "idql").exists()
    # Not even where only the shared folder is left.
    shutil.rmtree(folder / "behaviour")
    (folder / "behaviour.json").unlink()
    assert "steps 32, not 40" in refused(main, [*call, "behaviour"], capsys)


def test_mistakes_are_told_in_a_sentence(pendulum, tmp_path, capsys) -> None:
    out = ["--out", str(tmp_path / "out")]
    assert "unknown methods ddpg" in refused(main, [pendulum, *out, "--methods", "ddpg"], capsys)
    assert "at least 1" in refused(main, [pendulum, *out, "--episodes", "0"], capsys)
    assert "no Minari data set" in refused(main, ["guided/none-v0", *out], capsys)


def test_the_controller_plays_the_episodes_that_policies_play() -> None:
    trials = Trials(3, seed=4, discount=0.9)

    class Still:
        def act(self, obs, *, deterministic=False, rng=None):
            return np.zeros((len(obs["observation"]), 2))

    ours = play(point_maze, GOOD, trials)
    theirs = evaluate(point_maze, Still(), trials)
    for key, starts in ours.starts.items():
        np.testing.assert_array_equal(starts, theirs.starts[key])
    assert ours.returns.sum() >= theirs.returns.sum()
    assert controller_of("guided/pointmaze-umaze-mixed-v0") == GOOD
    assert controller_of("D4RL/pointmaze/umaze-v2") is None


def test_a_row_counts_failures_as_the_limit() -> None:
    def result(lengths, success):
        returns = [float(s) for s in success]
        test = {"returns": returns, "discounted": returns, "lengths": lengths, "success": success}
        return {"test": test, "seconds": {"wall": 1.0, "cpu": 2.0}, "knob": "n", "setting": 4.0}

    own = row("x", [result([10, 7], [True, False]), result([20, 30], [True, True])], 50)
    assert own["steps"]["value"] == pytest.approx((10 + 50 + 20 + 30) / 4)
    assert own["success"]["value"] == 0.75
    assert "| x | n 4 | 0.750 (" in markdown([own])


def test_seeds_reach_every_part_of_a_configuration() -> None:
    config = with_seed(TD3BCConfig(), 7)
    assert (config.seed, config.loop.seed) == (7, 7)
    assert with_seed(config, 0) == replace(TD3BCConfig())


def test_a_finished_stage_is_not_timed_again(tmp_path) -> None:
    def training():
        yield Progress("behaviour", 1, 1)
        yield Progress("own", 2, 2)
        return "policy"

    path = tmp_path / "seconds.json"
    clock = Clock(path, "me")
    assert clock.timed(training(), lambda _: None) == "policy"
    before, first = clock.seconds(("behaviour",)), json.loads(path.read_text())
    again = Clock(path, "me")
    again.timed(training(), lambda _: None)
    assert again.seconds(("behaviour",)) == before
    assert json.loads(path.read_text()) == first


def test_the_check_against_d3rlpy_says_what_it_needs(pendulum, capsys) -> None:
    if importlib.util.find_spec("d3rlpy"):
        pytest.skip("d3rlpy is there")
    assert "needs d3rlpy" in refused(d3rlpy_check, [pendulum], capsys)
