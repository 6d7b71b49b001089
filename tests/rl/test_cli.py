"""``guided-rl`` from end to end, small, and what it says to wrong input."""

import json
import os
import shutil
import subprocess
import sys

import minari
import pytest

from domains.rl.cli import main
from domains.rl.policy import SHIPPED
from tests.commands import refused
from tests.rl.logged import Corridor, episode
from tests.rl.logged import made as logged


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A tiny data set and a policy trained on it; the folder."""
    folder = tmp_path_factory.mktemp("rl")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(folder / "minari"))
        main(["collect", "pendulum/mixed", "--quick", "--id", "made/pendulum-v0"])
        main(["train", "made/pendulum-v0", "--out", str(folder / "run"), "--quick", "--curve", "2",
              "--episodes", "1"])  # fmt: skip
        yield folder


def test_collected_data_load_with_plain_minari(made):
    data = minari.load_dataset("made/pendulum-v0")
    env = data.recover_environment()
    assert env.spec.id == "Pendulum-v1" and data.total_episodes == 4


def test_training_leaves_a_policy_logs_and_a_curve(made):
    run = made / "run"
    for stage in ("behaviour", "critic", "energy"):
        assert (run / stage / "log.jsonl").read_text().count("\n") == 2
    curve = json.loads((run / "curve.json").read_text())
    assert list(curve["points"]) == ["10", "20"]
    last, best = curve["last"], curve["best"]
    assert last == {"step": 20, **curve["points"]["20"]} and last["episodes"] == 1
    earned = [point["discounted"]["value"] for point in curve["points"].values()]
    assert best["discounted"]["value"] == max(earned) and earned[0] != earned[1]
    assert last["discounted"]["value"] > last["mean"]["value"]  # costs, of which later ones less
    assert (run / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((run / "policy" / "config.json").read_text())["about"]["data"] == (
        "made/pendulum-v0"
    )


def test_the_same_command_again_changes_nothing(made):
    weights = made / "run" / "policy" / "energy.safetensors"
    before = weights.read_bytes()
    main(["train", "made/pendulum-v0", "--out", str(made / "run"), "--quick"])
    assert weights.read_bytes() == before


def test_a_curve_goes_on_from_its_file(made, capsys):
    path = made / "run" / "curve.json"
    command = ["train", "made/pendulum-v0", "--out", str(made / "run"), "--quick", "--curve", "2"]
    before, written = path.read_text(), path.stat().st_mtime_ns
    main([*command, "--episodes", "1"])
    assert path.read_text() == before and path.stat().st_mtime_ns == written
    said = capsys.readouterr().out
    assert "last 20" in said and "best " in said and "curve.png" in said
    assert "before the resume" not in said
    said = refused(main, [*command, "--episodes", "2"], capsys)
    assert "evaluations of 1 episodes, not 2" in said and path.read_text() == before


@pytest.mark.parametrize("content", ["[]", "{", '{"points": {"10": 1}}'])
def test_a_curve_that_is_damaged_is_one_sentence(made, content, capsys):
    path = made / "run" / "curve.json"
    before = path.read_text()
    path.write_text(content)
    command = ["train", "made/pendulum-v0", "--out", str(made / "run"), "--quick", "--curve", "2"]
    said = refused(main, command, capsys)
    path.write_text(before)
    assert f"{path} is truncated or no learning curve; delete it" in said


def test_evaluate_tells_scales_and_draws(made, capsys):
    main(["evaluate", str(made / "run" / "policy"), "--quick", "--scales", "0", "1",
          "--json", str(made / "e.json"), "--pictures", str(made / "pictures")])  # fmt: skip
    facts = json.loads((made / "e.json").read_text())
    assert set(facts["scales"]) == {"0", "1"} and facts["chosen"] in (0.0, 1.0)
    assert facts["scales"]["1"]["steps"]["value"] == 20
    said = capsys.readouterr().out
    assert "<- chosen" in said and "scale 1 earns" in said
    means = [facts["scales"][scale]["discounted"]["value"] for scale in "01"]
    assert facts["gains"]["1"]["value"] == pytest.approx(means[1] - means[0])
    assert facts["trials"]["episodes"] == 2 and facts["validation"] == 2
    assert {p.name for p in (made / "pictures").iterdir()} == {"scale.png", "calibration.png"}


def test_too_few_steps_for_a_calibration_have_the_other_pictures(made, tmp_path):
    main(["evaluate", str(made / "run" / "policy"), "--episodes", "1", "--max-steps", "11",
          "--scales", "0", "--pictures", str(tmp_path / "pictures")])  # fmt: skip
    assert [p.name for p in (tmp_path / "pictures").iterdir()] == ["scale.png"]


@pytest.mark.parametrize(
    ("options", "applies"),
    [
        ([], True),
        (["--max-steps", "5"], False),
        (["--environment", "Pendulum-v1"], False),
        (["--quick"], False),
    ],
)
def test_a_normalised_score_is_of_whole_episodes_in_the_task_of_the_data(
    made, tmp_path, options, applies
):
    main(["evaluate", str(made / "run" / "policy"), "--episodes", "1", "--scales", "0",
          "--network-calls", "1", "--json", str(tmp_path / "e.json"), *options])  # fmt: skip
    score = json.loads((tmp_path / "e.json").read_text())["scales"]["0"]["score"]
    assert (score is not None) == applies


def test_demo_draws_the_maze(tmp_path):
    main(["demo", "--quick", "--out", str(tmp_path / "demo")])
    assert (tmp_path / "demo" / "maze.png").stat().st_size > 10_000
    scales = json.loads((tmp_path / "demo" / "figures.json").read_text())["scales"]
    assert list(scales) == ["0", "1", "2", "4", "8"]
    assert all(0 <= own["success"]["value"] <= 1 for own in scales.values())
    assert all(0 < own["steps"]["value"] <= 20 for own in scales.values())


@pytest.mark.skipif(os.environ.get("MUJOCO_GL") == "egl", reason="the environment can render here")
def test_an_environment_that_cannot_render_is_one_sentence(made, tmp_path, capsys):
    try:
        import pygame  # noqa: F401
    except ImportError:
        said = refused(main, ["evaluate", str(made / "run" / "policy"), "--quick", "--scales", "1",
                              "--json", str(tmp_path / "a.json"),
                              "--video", str(tmp_path / "a.gif")], capsys)  # fmt: skip
        assert "pygame" in said
        assert not (tmp_path / "a.json").exists()  # told before anything is played
    else:
        pytest.skip("pygame is installed: the environment can render here")


def test_wrong_input_is_one_sentence(made, tmp_path, capsys):
    policy = str(made / "run" / "policy")
    out = ("--out", str(tmp_path / "run"))
    cases = {
        ("train", "made/nothing-v0", *out): "made/pendulum-v0",
        ("train", str(tmp_path / "missing.hdf5"), *out): "missing.hdf5",
        ("train", str(tmp_path / "missing.hdf5"), "--download", *out): "only Minari ids",
        ("train", "made/pendulum-v0", "--horizon", "9", *out): "leave out the horizon",
        ("train", "made/pendulum-v0", "--out", str(made / "run"), "--support", "3", "--quick"): (
            "support"
        ),
        ("train", "made/pendulum-v0", "--support", "1", *out): "support >= 2",
        ("train", "made/pendulum-v0", "--curve", "-1", *out): "at least 1 evaluation",
        ("collect", "pendulum/sac", "--seed", "-1"): "seed must not be negative",
        ("evaluate", policy, "--video", str(tmp_path / "a.png")): ".gif or .mp4",
        ("evaluate", policy, "--validation", "-1"): "0 validation episodes",
        ("evaluate", policy, "--network-calls", "0"): "at least 1 step",
        ("evaluate", str(tmp_path)): "no checkpoint",
        ("evaluate", policy, "--environment", "CartPole-v1"): "actions must be vectors",
        ("evaluate", policy, "--environment", "MountainCarContinuous-v0"): "made/pendulum-v0",
        ("evaluate", policy, "--environment", "Nothing-v7"): "Nothing-v7",
        ("evaluate", policy, "--episodes", "0"): "episodes",
        ("evaluate", policy, "--scales", "0", "0"): "each value once",
        ("evaluate", policy, "--scales", "0", "nan"): "scales must be finite",
        ("evaluate", policy, "--candidates", "0"): "at least 1",
    }
    for arguments, wanted in cases.items():
        assert wanted in refused(main, list(arguments), capsys), arguments
    assert not (tmp_path / "run").exists()  # a mistake leaves nothing behind


def test_a_place_of_other_things_is_refused_before_training(made, tmp_path, capsys):
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "notes.txt").touch()
    command = ["train", "made/pendulum-v0", "--out", str(tmp_path), "--quick"]
    assert "policy exists and is no checkpoint" in refused(main, command, capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["policy"]


def test_a_smoke_test_takes_no_snapshot_of_the_long_run(made, tmp_path):
    main(["train", "made/pendulum-v0", "--out", str(tmp_path / "run"), "--quick",
          "--energy-loop.snapshot-at", "1000"])  # fmt: skip
    assert (tmp_path / "run" / "policy" / "config.json").is_file()


def test_evaluations_from_before_a_resume_are_missed_in_a_sentence(made, tmp_path, capsys):
    shutil.copytree(made / "run", tmp_path / "run", ignore=shutil.ignore_patterns("curve.*"))
    main(["train", "made/pendulum-v0", "--out", str(tmp_path / "run"), "--quick", "--curve", "2",
          "--episodes", "1"])  # fmt: skip
    assert "2 evaluations asked for, 1 made: the others lay before" in capsys.readouterr().out


def test_training_that_diverges_is_one_sentence(made, tmp_path, capsys):
    command = ["train", "made/pendulum-v0", "--out", str(tmp_path / "run"), "--quick"]
    assert "lower the learning rate" in refused(
        main, [*command, "--behaviour-loop.lr", "1e30"], capsys
    )


def test_what_a_curve_needs_is_told_before_training(made, tmp_path, capsys):
    out = tmp_path / "run"
    command = ["train", "made/blind-v0", "--out", str(out), "--quick", "--curve", "1"]
    episodes = [episode([1.0] * 3), episode([1.0] * 3)]
    logged("made/blind-v0", episodes, Corridor())
    assert "does not tell its environment" in refused(main, command, capsys)
    minari.delete_dataset("made/blind-v0")
    logged("made/blind-v0", episodes, Corridor(), eval_env="Pendulum-v1")
    assert "made/blind-v0 has 2 observed numbers" in refused(main, command, capsys)
    assert not out.exists()
    minari.delete_dataset("made/blind-v0")


@pytest.mark.parametrize(
    ("missing", "arguments", "said"),
    [
        ("minari.storage.datasets_root_dir", [], "needs the package minari; pip install 'guided"),
        ("tensorboard", ["--tensorboard"], "guided[tensorboard]"),  # before the data are read
    ],
)
def test_a_missing_package_is_one_sentence(missing, arguments, said, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, missing, None)  # as if it were not installed
    command = ["train", "made/nothing-v0", "--out", str(tmp_path / "run"), *arguments]
    assert said in refused(main, command, capsys)


def test_without_the_packages_of_reinforcement_learning_the_command_says_so():
    code = "import sys; sys.modules['gymnasium'] = None; from domains.rl.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "guided-rl: needs the package gymnasium; pip install 'guided[rl]'\n"


def test_the_shipped_policy_is_small():
    assert sum(p.stat().st_size for p in SHIPPED.iterdir()) < 10_000_000
