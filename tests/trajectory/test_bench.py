"""``guided-bench trajectory``: rivals give the same futures, and the command runs."""

import json
import tomllib
from pathlib import Path

import pytest
import torch

from domains.trajectory.batch import Window, case
from domains.trajectory.bench.command import METHODS, OURS, RIVALS, Trajectory, methods
from domains.trajectory.bench.problem import Problem, eight
from domains.trajectory.bench.rivals import Recomputing, difference
from domains.trajectory.model import ModelConfig
from guided.bench.turns import table

CONFIG = ModelConfig(width=16, heads=2, layers=1, latents=5, modes=3)
PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"


@pytest.fixture(scope="module")
def problem():
    return Problem.of(CONFIG, samples=3, steps=2, seed=0)


def test_the_scene_has_eight_agents_and_a_whole_map():
    found = case(eight(Window(), 0), Window())
    assert len(found.agents) == 8 and found.inputs[6].shape == (48, 6, 2)


@pytest.mark.parametrize("name", RIVALS)
def test_a_rival_gives_the_same_futures(problem, name):
    calls = []

    def counted(prepared, samples):
        calls.append(samples)
        return RIVALS[name][0](prepared, samples)

    rival = problem.through(Recomputing(problem.prepared, counted))
    theirs = rival.run(rival.sampler("ecm"))
    torch.testing.assert_close(theirs, problem.run(problem.sampler("ecm")), rtol=1e-4, atol=1e-4)
    assert calls == [3, 3]


def test_the_original_holds_relations_of_every_sample(problem):
    fresh = RIVALS["relations of each sample, each step"][0](problem.prepared, 3)
    ours = problem.prepared.denoiser.context
    for many, one in zip(fresh.others, ours.others, strict=True):
        assert many.keys.shape == (3, *one.keys.shape[1:])
        torch.testing.assert_close(many.keys, one.keys.expand_as(many.keys), rtol=1e-4, atol=1e-5)


def test_a_rival_that_does_other_work_is_told(problem):
    ours = problem.run(problem.sampler("ecm"))
    assert difference(ours, ours) == "differs by 0e+00 m"
    with pytest.raises(ValueError, match=r"differ by 0\.5 m, so that it does other work"):
        difference(ours, ours + 0.5)


def test_guidance_calls_the_network_as_often_as_an_unguided_run(problem):
    assert {problem.spent(*how) for how in METHODS.values()} == {"2 calls"}
    assert problem.spent("score-function") == "2 calls, 2 back"


def test_targets_are_ratios_of_the_first_run(problem):
    found = methods(problem, rounds=1)
    rows = {row["run"]: row for row in found["rows"]}
    rows["ecm, goals"]["ratio"] = 1 / 1.04
    assert "kept   1.040 times as long as the first, at most 1.05" in table(found)
    rows["ecm, goals"]["ratio"] = 1 / 1.06
    assert "MISSED 1.060 times as long as the first, at most 1.05" in table(found)


def test_the_command_runs(tmp_path, capsys):
    path = tmp_path / "found.json"
    Trajectory(samples=2, quick=True, json=path).run()
    said = capsys.readouterr().out
    for name in (*RIVALS, OURS, *METHODS, "score-function, goals"):
        assert name in said
    held = json.loads(path.read_text())
    assert held["command"] == "guided-bench trajectory" and len(held["cases"]) == 5
    assert held["options"]["samples"] == 2


def test_the_command_is_found():
    scripts = tomllib.loads(PYPROJECT.read_text())["project"]["entry-points"]["guided.bench"]
    assert scripts["trajectory"] == "domains.trajectory.bench.command:Trajectory"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"samples": 0}, "at least 1 sample and 1 step, got 0 and 10"),
        ({"rounds": 0}, "at least 1 round, 1 thread and 1 part, got 0"),
    ],
)
def test_bad_counts_are_refused(options, says):
    with pytest.raises(ValueError, match=says):
        Trajectory(**options).run()


def test_a_seed_without_such_a_scene_is_told(monkeypatch):
    monkeypatch.setattr("domains.trajectory.bench.problem.AGENTS", 1000)
    with pytest.raises(ValueError, match="no crossing of seed 0 has 1000 agents; choose another"):
        eight(Window(), 0)
