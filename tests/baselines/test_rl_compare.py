"""The comparison of offline RL methods: a smoke run, what it keeps, and what it refuses."""

import importlib.util
import json
import shutil
from copy import copy
from dataclasses import replace
from functools import partial

import gymnasium as gym
import minari
import numpy as np
import pytest
import torch

from baselines.rl import compare
from baselines.rl.clock import Clock
from baselines.rl.compare import main
from baselines.rl.contest import played_in, with_seed
from baselines.rl.controller import controller_of, play
from baselines.rl.d3rlpy_check import main as d3rlpy_check
from baselines.rl.table import markdown, row
from baselines.rl.td3_bc import TD3BCConfig
from domains.rl.collect.presets import GOOD
from domains.rl.data.sources import load_data
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


@pytest.mark.parametrize("bars", [True, False])
def test_the_comparison_runs_resumes_and_keeps_its_choices(
    pendulum, tmp_path, capsys, monkeypatch, bars
) -> None:
    threads, path = torch.get_num_threads(), tmp_path / "new" / "found.json"
    if not bars:
        monkeypatch.setattr(compare, "tqdm", partial(compare.tqdm, disable=True))
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
    assert main_again(call, path, tmp_path)["results"] == first["results"]
    # Another question about the same training: played again, not trained again.
    options = ["--sfbc.beta", "2", "--sfbc.candidates", "3", "--steps", "1", "--scales", "0", "9"]
    second = main_again([*call, *options], path, tmp_path)["results"]
    for name, results in first["results"].items():
        assert [r["seconds"] for r in second[name]] == [r["seconds"] for r in results]
        asked = json.loads((tmp_path / "out" / "seed-1" / f"{name}.json").read_text())["asked"]
        assert asked["steps"] == 1
    assert asked["sampling"] == {"candidates": 3, "steps": 1}  # of sfbc, the last
    assert all(set(own["chosen_by"]) == {"0", "9"} for own in second["cep"])
    refusal = refused(main, [*call, "--td3-bc.alpha", "1"], capsys)
    assert "another configuration" in refusal
    torch.set_num_threads(threads)


def main_again(call, path, folder):
    """Run the comparison on what is trained already; return what it writes."""
    kept = {p: p.stat().st_mtime_ns for p in folder.rglob("*.pt")}
    assert kept
    main(call)
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*.pt")} == kept
    return json.loads(path.read_text())


def test_the_figures_say_what_was_trained_in_plain_json(pendulum, tmp_path) -> None:
    path = tmp_path / "found.json"
    call = [pendulum, "--quick", "--seeds", "0", "--scales", "3", "--json", str(path)]
    call += ["--out", str(tmp_path / "out"), "--methods", "cep", "idql", "--iql.beta", "7"]
    main([*call, "--guided.critic.gamma", "0.9", "--guided.critic.n-step", "4"])

    def strange(constant):
        raise AssertionError(f"{constant} is not JSON")

    found = json.loads(path.read_text(), parse_constant=strange)
    assert set(found["configs"]) == {"guided", "idql"}
    assert found["configs"]["guided"]["support"] == 2  # as quick has it, not as the options
    idql = found["configs"]["idql"]
    assert idql["bootstrap"] == {"gamma": 0.9, "n_step": 4, "warm_up": 0.5}
    assert idql["loop"]["clip"] == "inf"
    assert "candidates" not in idql  # chosen among values of its own
    assert found["options"]["scales"] == [3.0]
    assert not {"iql", "idql", "guided"} & set(found["options"])
    (cep,), (own,) = found["results"]["cep"], found["results"]["idql"]
    assert cep["setting"] == 3
    assert "chosen_by" not in cep  # nothing was played to choose it
    assert set(own["chosen_by"]) == {"4", "16"}


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
    for wrong in (["0", "0"], ["-1"], []):
        got = f"different seeds of at least 0, got {', '.join(wrong) or 'none'}"
        assert got in refused(main, [pendulum, *out, "--seeds", *wrong], capsys)
        assert got in refused(d3rlpy_check, [pendulum, "--seeds", *wrong], capsys)
    said = refused(main, [pendulum, *out, "--methods", "bc", "bc"], capsys)
    assert "every method once, got bc, bc" in said
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
    assert ours.returns.sum() > theirs.returns.sum()
    assert controller_of("guided/pointmaze-umaze-mixed-v0") == GOOD
    assert controller_of("D4RL/pointmaze/umaze-v2") is None


def result(lengths, success):
    returns = [float(s) for s in success]
    test = {"returns": returns, "discounted": returns, "lengths": lengths, "success": success}
    return {"test": test, "seconds": {"wall": 1.0, "cpu": 2.0}, "knob": "n", "setting": 4.0}


def test_a_row_counts_failures_as_the_limit() -> None:
    own = row("x", [result([10, 7], [True, False]), result([20, 30], [True, True])], 50)
    assert own["steps"]["value"] == pytest.approx((10 + 50 + 20 + 30) / 4)
    assert own["success"]["value"] == 0.75
    assert "| x | n 4 | 0.750 (" in markdown([own])


def test_a_row_is_compared_with_cep_on_the_same_episodes() -> None:
    """Episodes differ by far more than methods; only in pairs can that be told."""
    lengths = [10, 200, 35, 90]
    cep = [result(lengths, [True] * 4)] * 2
    more = row("x", [result([n + 3 for n in lengths], [True] * 4)] * 2, 300, cep)["more"]
    assert more == {"value": 3.0, "low": 3.0, "high": 3.0}
    assert row("x", cep, 300)["more"] is None


def test_a_row_of_a_task_that_goes_on_after_success_has_no_steps_to_the_goal() -> None:
    own = row("x", [result([50, 50], [True, False])], 50)
    assert own["steps"] is None
    assert own["success"]["value"] == 0.5
    assert row("x", [result([50, 50], [False, False])], 50)["steps"]["value"] == 50


def test_seeds_reach_every_part_of_a_configuration() -> None:
    config = with_seed(TD3BCConfig(), 7)
    assert (config.seed, config.loop.seed) == (7, 7)
    assert with_seed(config, 0) == replace(TD3BCConfig())


def training():
    yield Progress("behaviour", 1, 2)
    yield Progress("behaviour", 2, 2)
    yield Progress("own", 2, 2)
    return "policy"


def test_a_finished_stage_is_not_timed_again(tmp_path) -> None:
    def clock():
        return Clock(tmp_path / "me", tmp_path / "shared", ("behaviour",))

    first = clock()
    assert first.timed(training(), lambda _: None) == "policy"
    kept = {p: p.read_text() for p in tmp_path.rglob("seconds.json")}
    assert set(kept) == {tmp_path / "me" / "seconds.json", tmp_path / "shared" / "seconds.json"}
    again = clock()
    again.timed(training(), lambda _: None)
    assert again.seconds(("behaviour",)) == first.seconds(("behaviour",))
    assert {p: p.read_text() for p in kept} == kept


def test_times_go_with_their_folder_and_are_written_at_once(tmp_path) -> None:
    own, shared = tmp_path / "me", tmp_path / "shared"
    written = []

    def look(progress):
        path = (shared if progress.stage == "behaviour" else own) / "seconds.json"
        written.append(json.loads(path.read_text())[progress.stage]["done"])

    Clock(own, shared, ("behaviour",)).timed(training(), look)
    assert written == [False, True, True]
    (own / "seconds.json").write_text('{"own": {"wall": 70.0, "cpu": 70.0, "done": true}}')
    before = (shared / "seconds.json").read_text()
    kept = Clock(own, shared, ("behaviour",))
    kept.timed(training(), look)
    assert kept.seconds(())["wall"] == 70
    shutil.rmtree(own)
    fresh = Clock(own, shared, ("behaviour",))
    fresh.timed(training(), look)
    assert fresh.seconds(())["wall"] < 1
    assert (shared / "seconds.json").read_text() == before


def test_stages_of_a_folder_that_is_shared_count_where_they_are_built_on(tmp_path) -> None:
    cep = Clock(tmp_path, tmp_path, ("behaviour", "support"))
    cep.timed(training(), lambda _: None)
    cep.times[cep.own] = {
        name: {"wall": wall, "cpu": wall, "done": True}
        for name, wall in (("behaviour", 1.0), ("support", 2.0), ("own", 4.0))
    }
    assert cep.seconds(("behaviour",))["wall"] == 5
    assert cep.seconds(("behaviour", "support"))["wall"] == 7


def test_data_of_an_environment_without_a_limit_are_refused(pendulum) -> None:
    data = load_data(pendulum)
    assert played_in(data) == (data.environment, 8)
    endless = copy(gym.spec("Pendulum-v1"))  # the registry's own must keep its limit
    endless.max_episode_steps = None
    for environment, message in ((endless.to_json(), "no limit of steps"), (None, "does not tell")):
        with pytest.raises(ValueError, match=message):
            played_in(replace(data, environment=environment))


def test_the_check_against_d3rlpy_says_what_it_needs(pendulum, capsys) -> None:
    if importlib.util.find_spec("d3rlpy"):
        pytest.skip("d3rlpy is there")
    assert "needs d3rlpy" in refused(d3rlpy_check, [pendulum], capsys)
