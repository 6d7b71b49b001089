"""``guided-trajectory`` and a user's mistakes: one sentence each, and an exit that is not 0."""

import builtins
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from domains.trajectory.cli import main
from domains.trajectory.model import save_model
from domains.trajectory.scene_file import write_forecast, write_scene
from tests.commands import refused
from tests.trajectory.small_predictor import MODEL, small, walkers
from tests.trajectory.test_asking import forecast as straight

fails = partial(refused, main)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models, scenes and files that no command can use."""
    made = tmp_path_factory.mktemp("mistakes")
    for prior in ("ogd", "vanilla"):
        weights = small(prior).state_dict()
        save_model(made / prior, replace(MODEL, prior=prior), weights)
    scene = walkers(3)
    write_scene(made / "scene.json", scene)
    write_scene(made / "bare.json", replace(scene, road=None))
    write_scene(made / "past.json", scene.history())
    write_forecast(made / "forecast.json", straight(scene, (3, 0), (0, 3)))
    write_forecast(made / "bare-forecast.json", straight(replace(scene, road=None), (3, 0)))
    (made / "cut.json").write_text((made / "scene.json").read_text()[:200])
    (made / "part.json").write_text(json.dumps({"scene": {"name": "x"}}))
    (made / "broken.xml").write_text("<commonRoad")
    (made / "words.txt").write_text("not a number\n")
    (made / "notes.doc").write_text("hello")
    (made / "empty").mkdir()
    pa.parquet.write_table(pa.table({"a": [1, 2]}), made / "other.parquet")
    (made / "plan.yaml").write_text("constraint: []\n")
    return made


def told(words: str, folder: Path, capsys) -> str:
    """Run a command, in which @ is the folder, and | stands between words; return its sentence."""
    return fails([word.replace("@", f"{folder}/") for word in words.split("|")], capsys)


PREDICT = "predict|--model|@ogd|--out|@out"
GUIDE = "guide|--quick|--model|@ogd|--source|@scene.json|--out|@out"
EVALUATE = "evaluate|--model|@ogd|--source|@scene.json"
TASKS = "tasks|--quick|--model|@ogd|--source|plaza"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (f"{PREDICT}|--source|nowhere.json", "there is no nowhere.json; give a file or folder"),
        (f"{PREDICT}|--source|@cut.json", "cut.json is no scene file"),
        (f"{PREDICT}|--source|@part.json", "part.json lacks the entry 'tracks'"),
        (f"{PREDICT}|--source|@broken.xml", "no whole XML file"),
        (f"{PREDICT}|--source|@words.txt", "is no table of numbers"),
        (f"{PREDICT}|--source|@notes.doc", "cannot tell what"),
        (f"{PREDICT}|--source|@empty", "holds no scenario_*.parquet"),
        (f"{PREDICT}|--source|@other.parquet", "a parquet file of another schema"),
        (f"{PREDICT}|--source|@:eth", "is not there; give the folder of the ETH/UCY text files"),
        (f"{PREDICT}|--source|@scene.json|--samples|-3", "1 or more samples and steps"),
        (f"{PREDICT}|--source|@scene.json|--steps|0", "1 or more samples and steps"),
        (f"{PREDICT}|--source|@scene.json|--start|1.5", "a start in (0, 1]"),
        (f"{PREDICT}|--source|@scene.json|--worlds|-2", "choose 1 or more worlds, got -2"),
        ("predict|--model|@nowhere", "nowhere is no checkpoint"),
        ("predict|--model|@empty", "empty is no checkpoint"),
        (
            "predict|--model|@vanilla|--source|@scene.json|--start|0.4",
            "in pure noise, at 1, got 0.4",
        ),
        ("predict|--model|@ogd|--out|@notes.doc/x", "cannot write"),
        (f"{EVALUATE}|--worlds|9|--samples|8", "9 worlds need as many samples, got 8; draw more"),
        (f"{EVALUATE}|--worlds|0", "1 or more worlds of 1 or more sets, got 0"),
        (f"{EVALUATE}|--sets", "1 or more worlds of 1 or more sets, got 20 of ()"),
        (f"{EVALUATE}|--sets|samples|modes|modes", "--sets has modes more than once"),
        (f"{EVALUATE}|--json|.", "it is a folder"),
        ("evaluate|--model|@ogd|--source|@past.json", "in none of 1 scenes has anybody"),
        (
            "evaluate|--model|@vanilla|--source|@scene.json|--start|0.4",
            "in pure noise, at 1, got 0.4",
        ),
        (f"{TASKS}|--methods", "1 or more tasks, methods and strengths"),
        (f"{TASKS}|--tasks", "1 or more tasks, methods and strengths"),
        (f"{TASKS}|--strengths|-1", "a strength of 0 or more"),
        ("tasks|--quick|--model|@ogd|--source|@past.json", "2 or more scenes of a file, got 1"),
        ("plot|@nowhere.json", "there is no"),
        ("plot|@scene.json|--out|@notes.doc/x", "cannot write"),
        ("animate", "give one or more forecasts"),
        ("animate|@scene.json", "holds a scene and no forecast; make one with predict or guide"),
        ("animate|@forecast.json|--world|9|--out|@film.gif", "has no world 9; give one of 0 to 1"),
        ("animate|@forecast.json|--fps|0|--out|@film.gif", "frames a second, got 0"),
        ("animate|@forecast.json|@empty/../forecast.json", "is given 2 times; give each forecast"),
        ("animate|@forecast.json|--out|@film.doc", "ends in .gif or .mp4"),
        ("export", "give one or more forecasts"),
        ("export|@scene.json", "holds a scene and no forecast"),
        ("export|@forecast.json|--out|@s.doc", "give a .parquet, or a .xml for one"),
        ("export|@forecast.json|@forecast.json|--out|@s.xml", "cannot write 2 forecasts"),
        ("export|@forecast.json|--out|@s.parquet", "ends 3 s after now, before the 6 s"),
        ("export|@forecast.json|--keep|0", "keep is 1 to 6 worlds, got 0"),
        ("export|@forecast.json|--out|@s.xml|--world|7", "has 2 worlds, got the index 7"),
        ("export|@bare-forecast.json|--out|@s.xml", "has no lanes, and CommonRoad needs them"),
    ],
)
def test_mistakes_are_one_sentence(words: str, message: str, folder: Path, capsys) -> None:
    assert message in told(words, folder, capsys)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("", "nothing was asked for; give --ask"),
        ("--ask|agent 77: speed <= 2", "no agent '77' is predicted here; name one of: w0, w1, w2"),
        ("--ask|agent w0: goal (1, 2) at 9 s", "9 s lies outside the horizon, which ends 3 s"),
        ("--ask|agent w0: jump", "got 'jump' at character"),
        ("--ask|agent w0 speed <= 2", 'expected ":"'),
        ("--ask|cyclists: speed <= 2", "the scene has no cyclists"),
        ("--ask|agent w0: in lane 99", "the map has no lane '99'"),
        ("--ask|all: speed <= 2|--strength|-1", "a strength of 0 or more and a positive clip"),
        ("--ask|all: speed <= 2|--strength|nan", "a strength of 0 or more and a positive clip"),
        ("--ask|all: speed <= 2|--clip|0", "a strength of 0 or more and a positive clip"),
        ("--ask|all: speed <= 2|--edit|remove agent 77", "no agent '77'"),
        ("--ask|all: speed <= 2|--edit|fly agent w0", "got 'fly' at character 1, expected one of"),
        ("--plan|@nowhere.yaml", "cannot read the plan"),
        ("--plan|@plan.yaml", "a plan has the parts constraints and edits"),
        ("--ask|all: on road|--source|@bare.json", "the scene has no map; drop the constraint"),
    ],
)
def test_mistakes_in_guiding_are_one_sentence(more: str, message: str, folder, capsys) -> None:
    words = f"{GUIDE}|{more}" if more else GUIDE
    assert message in told(words, folder, capsys)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("train|--scenes.source|@nowhere", "there is no"),
        ("train|--scenes.source|@nowhere:eth", "give the folder of the ETH/UCY text files"),
        ("train|--scenes.source|@scene.json", "holds 1 scenes, too few to train on"),
        ("train|--scenes.count|0", "1 or more generated scenes, got 0"),
        ("train|--out|@notes.doc", "cannot write"),
        ("fit-latent|--most|0", "1 or more components, got 0; raise --most"),
        ("fit-latent|--dim|0|--scenes.source|nowhere", "1 to 24 components, got 0; change --dim"),
        ("fit-latent|--dim|25|--scenes.source|nowhere", "1 to 24 components, got 25"),
        ("fit-latent|--quick|--scenes.source|plaza|--out|@notes.doc", "cannot write"),
    ],
)
def test_mistakes_in_training_are_one_sentence(more: str, message: str, folder, capsys) -> None:
    words = more if "--out" in more else f"{more}|--out|@run"
    assert message in told(words, folder, capsys)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--model.heads", "3", "a multiple of the heads, got 64 for 3 heads"),
        ("--model.width", "9", "even and a multiple of the heads, got 9"),
        ("--model.modes", "0", "1 or more latents, modes, width, heads, layers and draws"),
        ("--model.floor", "0", "a positive floor"),
        ("--model.window.history", "1", "2 or more steps of history"),
        ("--model.window.dt", "0", "a positive dt"),
        ("--model.window.points", "1", "2 or more points in a piece of map"),
        ("--vary.agents", "0", "with 1 or more agents"),
        ("--vary.scale", "2 1", "a positive scale from least to largest"),
        ("--loop.steps", "0", "steps must be positive"),
        ("--model.prior", "magic", "magic"),
    ],
)
def test_sizes_that_cannot_be_are_named(option: str, value: str, message: str, capsys) -> None:
    """They are found while options are read, which ends in a box on the standard error."""
    with pytest.raises(SystemExit) as stopped:
        main(["train", option, *value.split()])
    shown = capsys.readouterr().err
    assert stopped.value.code == 2 and "Traceback" not in shown
    assert message in " ".join(shown.replace("│", " ").split())


def test_latents_that_do_not_fit_are_refused(folder: Path, tmp_path, capsys) -> None:
    """Latents of two components for a model of eight."""
    fit = ["fit-latent", "--quick", "--scenes.source", "plaza", "--dim", "2", "--most", "2"]
    main([*fit, "--out", str(tmp_path / "latents")])
    train = ["train", "--quick", "--scenes.source", "plaza", "--out", str(tmp_path / "run")]
    message = fails([*train, "--latents", str(tmp_path / "latents")], capsys)
    assert "and the model needs {'future': 12, 'dim': 8}; set" in message
    message = fails([*train, "--latents", str(folder / "ogd")], capsys)
    assert "holds latents of {}" in message
    message = fails([*fit[:4], "--error", "1e-9", "--most", "2", "--out", str(tmp_path)], capsys)
    assert "2 components still miss the last point by" in message and "raise --error" in message


def test_a_missing_package_is_named(folder: Path, monkeypatch, capsys) -> None:
    plain = builtins.__import__

    def without(name: str, *rest):
        if name == "yaml":
            raise ModuleNotFoundError("No module named 'yaml'", name="yaml")
        return plain(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    message = told(f"{GUIDE}|--plan|@plan.yaml", folder, capsys)
    assert "needs the package yaml; pip install 'guided[trajectory]'" in message
