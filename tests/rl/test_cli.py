"""``guided-rl`` from end to end, small, and what it says to wrong input."""

import json
import os

import minari
import pytest

from domains.rl.cli import main
from domains.rl.policy import SHIPPED
from tests.commands import refused


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A tiny data set and a policy trained on it; the folder."""
    folder = tmp_path_factory.mktemp("rl")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(folder / "minari"))
        main(["collect", "pendulum/mixed", "--quick", "--id", "made/pendulum-v0"])
        main(["train", "made/pendulum-v0", "--out", str(folder / "run"), "--quick", "--curve", "1",
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
    assert list(curve) == ["20"] and curve["20"]["episodes"] == 1
    assert json.loads((run / "policy" / "config.json").read_text())["about"]["data"] == (
        "made/pendulum-v0"
    )


def test_the_same_command_again_changes_nothing(made):
    weights = made / "run" / "policy" / "energy.safetensors"
    before = weights.read_bytes()
    main(["train", "made/pendulum-v0", "--out", str(made / "run"), "--quick"])
    assert weights.read_bytes() == before


def test_evaluate_tells_scales_and_draws(made, capsys):
    main(["evaluate", str(made / "run" / "policy"), "--quick", "--scales", "0", "1",
          "--json", str(made / "e.json"), "--pictures", str(made / "pictures")])  # fmt: skip
    facts = json.loads((made / "e.json").read_text())
    assert set(facts["scales"]) == {"0", "1"} and facts["chosen"] in (0.0, 1.0)
    assert facts["scales"]["1"]["steps"]["value"] == 20
    assert "<- chosen" in capsys.readouterr().out
    assert {p.name for p in (made / "pictures").iterdir()} == {"scale.png", "calibration.png"}


def test_demo_draws_the_maze(tmp_path, capsys):
    main(["demo", "--quick", "--out", str(tmp_path / "demo")])
    assert (tmp_path / "demo" / "maze.png").stat().st_size > 10_000
    assert "success" in capsys.readouterr().out


@pytest.mark.skipif(os.environ.get("MUJOCO_GL") == "egl", reason="the environment can render here")
def test_an_environment_that_cannot_render_is_one_sentence(made, tmp_path, capsys):
    try:
        import pygame  # noqa: F401
    except ImportError:
        said = refused(main, ["evaluate", str(made / "run" / "policy"), "--quick", "--scales", "1",
                              "--video", str(tmp_path / "a.gif")], capsys)  # fmt: skip
        assert "pygame" in said
    else:
        pytest.skip("pygame is installed: the environment can render here")


def test_wrong_input_is_one_sentence(made, tmp_path, capsys):
    policy = str(made / "run" / "policy")
    cases = {
        ("train", "made/nothing-v0"): "made/pendulum-v0",
        ("train", str(tmp_path / "missing.hdf5")): "missing.hdf5",
        ("train", "made/pendulum-v0", "--out", str(made / "run"), "--support", "3", "--quick"): (
            "support"
        ),
        ("evaluate", str(tmp_path)): "no checkpoint",
        ("evaluate", policy, "--environment", "CartPole-v1"): "actions must be vectors",
        ("evaluate", policy, "--environment", "MountainCarContinuous-v0"): "made/pendulum-v0",
        ("evaluate", policy, "--environment", "Nothing-v7"): "Nothing-v7",
        ("evaluate", policy, "--episodes", "0"): "episodes",
        ("evaluate", policy, "--scales", "0", "0"): "each value once",
        ("evaluate", policy, "--candidates", "0"): "at least 1",
    }
    for arguments, wanted in cases.items():
        assert wanted in refused(main, list(arguments), capsys), arguments


def test_the_shipped_policy_is_small():
    assert sum(p.stat().st_size for p in SHIPPED.iterdir()) < 10_000_000
