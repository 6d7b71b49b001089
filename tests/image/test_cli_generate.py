"""``guided-image generate``, ``sweep`` and ``demo`` as a user runs them, mistakes included."""

import dataclasses
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from domains.image.classifier import Classifier, ClassifierConfig, save_classifier
from domains.image.cli import main
from domains.image.generation import Generator
from domains.image.model import SMALL, ModelConfig, build, save_model
from domains.image.sweep import CURVES
from guided.guidance.names import METHODS
from tests.commands import refused

fails = partial(refused, main)
FEW = ["--checkpoint", str(SMALL), "--threads", "1", "--quick"]


def generate(folder, *options: str) -> list[str]:
    return ["generate", "--out", str(folder / "grid.png"), *FEW, *options]


@pytest.mark.parametrize("name", ["none", "cfg", "autoguidance", "cfg+pag"])
def test_generate_writes_a_grid_an_array_and_its_cost(name, tmp_path, capsys) -> None:
    array, figures = tmp_path / "x.npy", tmp_path / "new" / "x.json"
    main([*generate(tmp_path), "--guidance", name, "--array", str(array), "--json", str(figures)])
    x0 = np.load(array)
    assert x0.shape == (10, 1, 8, 8) and np.isfinite(x0).all()
    picture = Image.open(tmp_path / "grid.png")
    assert picture.mode == "L" and picture.width == (10 * 9 + 1) * 6
    found = json.loads(figures.read_text())
    rows = {"none": 4, "cfg": 8, "autoguidance": 8, "cfg+pag": 12}[name]
    assert found["evaluations"] == rows
    assert found["options"]["named"]["guidance"] == name
    assert f"{rows} network evaluations each" in capsys.readouterr().out


def test_quick_keeps_the_other_options_and_the_file_says_what_ran(tmp_path) -> None:
    figures = tmp_path / "x.json"
    main([*generate(tmp_path), "--sampler", "ddim", "--eta", "0.5", "--json", str(figures)])
    found = json.loads(figures.read_text())["options"]
    assert (found["count"], found["checkpoint"]) == (10, "domains/image/weights/digits-small")
    ran = found["sampling"]
    assert (ran["sampler"], ran["steps"], ran["eta"]) == ("ddim", 4, 0.5)


def other(folder: Path, **changed: Any) -> Path:
    """Write an untrained classifier that is not of the digits."""
    config = ClassifierConfig(width=4, features=8, names=tuple("0123456789"))
    config = dataclasses.replace(config, **changed)
    save_classifier(folder, config, Classifier(config).state_dict())
    return folder


@pytest.mark.parametrize("changed", [{"names": ("a", "b")}, {"shape": (3, 8, 8)}])
def test_what_is_for_other_pictures_is_refused(changed, tmp_path, capsys) -> None:
    folder, small = other(tmp_path / "c", **changed), f"the model {SMALL} for pictures (1, 8, 8)"
    message = fails([*generate(tmp_path), "--classifier", str(folder)], capsys)
    assert f"the classifier {folder} is for pictures" in message and small in message
    message = fails(["sweep", "--quick", "--judge", str(folder)], capsys)
    assert f"the judge {folder} is for pictures" in message
    assert "but the data digits for pictures (1, 8, 8) with the classes 0, 1" in message
    config = ModelConfig(width=16, depth=1, heads=2, names=tuple("0123456789"))
    config = dataclasses.replace(config, **changed)
    save_model(tmp_path / "m", config, build(config).state_dict())
    message = fails([*generate(tmp_path), "--weak", str(tmp_path / "m")], capsys)
    assert f"the weaker model {tmp_path / 'm'} is for pictures" in message and small in message
    message = fails(
        ["sweep", "--quick", "--methods", "past", "--checkpoint", str(tmp_path / "m")], capsys
    )
    assert f"the model {tmp_path / 'm'} is for pictures" in message


def test_a_method_that_does_not_fit_ends_a_sweep_before_it_starts(tmp_path, capsys) -> None:
    config = ModelConfig(width=16, depth=1, heads=2, names=tuple("0123456789"))
    save_model(tmp_path / "m", config, build(config).state_dict())
    options = ["--methods", "past", "autoguidance", "--checkpoint", str(tmp_path / "m")]
    figures = tmp_path / "x.json"
    message = fails(["sweep", "--quick", *options, "--json", str(figures)], capsys)
    assert "autoguidance" in message and not figures.exists()


def test_a_sweep_that_ends_early_leaves_the_methods_that_it_finished(tmp_path, monkeypatch) -> None:
    drawn = Generator.sample

    def sample(self, named, *args, **kwargs):
        if named.guidance == "past":
            raise KeyboardInterrupt
        return drawn(self, named, *args, **kwargs)

    monkeypatch.setattr(Generator, "sample", sample)
    figures = tmp_path / "x.json"
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        main(["sweep", "--quick", "--methods", "cfg", "past", "--json", str(figures)])
    found = json.loads(figures.read_text())
    assert [row["method"] for row in found["table"]] == ["cfg", "cfg"]
    options = found["options"]
    assert options["checkpoint"] == "domains/image/weights/digits-small"
    assert (options["count"], options["sampling"]["steps"]) == (40, 4)
    assert (options["weak"], options["json"]) == (None, str(figures))


def test_generate_has_the_options_of_the_registry(tmp_path) -> None:
    arrays = []
    for scale in ("1", "3"):
        array = tmp_path / f"{scale}.npy"
        options = ["--guidance", "cfg", "--guidance.scale", scale, "--classes", "3"]
        main([*generate(tmp_path), *options, "--array", str(array), "--count", "4"])
        arrays.append(np.load(array))
    assert np.abs(arrays[0] - arrays[1]).max() > 0.01


def test_every_method_of_the_registry_is_in_the_sweep() -> None:
    assert {part for name in CURVES for part in name.split("+")} == set(METHODS)


def test_sweep_prints_a_table_and_draws(tmp_path, capsys) -> None:
    figure, figures = tmp_path / "new" / "sweep.png", tmp_path / "sweep.json"
    options = ["--methods", "cfg", "gfcg-autoguidance", "past"]
    main(["sweep", "--quick", *options, "--figure", str(figure), "--json", str(figures)])
    printed = capsys.readouterr().out
    found = json.loads(figures.read_text())
    assert [row["method"] for row in found["table"]] == [
        *("cfg", "cfg", "gfcg-autoguidance", "gfcg-autoguidance", "past", "past")
    ]
    plain = [row for row in found["table"] if row["scale"] == [1.0]]
    assert len({row["distance"] for row in plain}) == 1, "scale 1 is one and the same run"
    assert all(row["evaluations"] == 4 for row in plain)
    assert "training data" in printed and "past" in printed
    assert Image.open(figure).width == 1200


def test_demo_draws_and_reports(tmp_path, capsys) -> None:
    main(["demo", "--quick", "--out", str(tmp_path / "demo")])
    found = json.loads((tmp_path / "demo" / "report.json").read_text())
    assert found["guidance"].keys() >= {"none", "cfg", "autoguidance"}
    assert len(found["inverse"]) == 3
    for name in ("guidance.png", "inverse.png"):
        assert Image.open(tmp_path / "demo" / name).width > 500
    assert "autoguidance" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate", "--guidance", "magic"], "unknown guidance 'magic'; expected none, cfg"),
        (["generate", "--count", "0"], "at least 1 picture and 1 column, got 0"),
        (["generate", "--classes", "12"], "the model has the classes 0 to 9"),
        (["generate", "--guidance", "cfg", "--guidance.eta", "1"], "no option 'eta'"),
        (["generate", "--guidance", "pag", "--guidance.layers", "9"], "blocks 0 to"),
        (["generate", "--checkpoint", "nowhere"], "nowhere"),
        (["generate", "--sampler", "heun", "--eta", "1"], "heun is deterministic"),
        (["sweep", "--methods", "magic"], "unknown method 'magic'; expected cfg"),
        (["generate", "--seed", "-1"], "a seed and threads of at least 0, got -1 and 0"),
        (["generate", "--threads", "-1"], "a seed and threads of at least 0, got 0 and -1"),
        (["sweep", "--seeds", "0"], "1 or more seeds"),
        (["sweep", "--threads", "-1"], "threads of at least 0, got -1"),
        (["sweep", "--count", "798"], "797 pictures held out, got a count of 798"),
        (["sweep", "--source", "nowhere"], "nowhere is no data set, file or folder"),
        (["demo", "--judged", "3"], "at least 10 digits, got 3"),
    ],
)
def test_mistakes_are_one_sentence(arguments, message, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in fails(arguments, capsys)
