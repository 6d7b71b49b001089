"""``guided-image generate``, ``sweep`` and ``demo`` as a user runs them, mistakes included."""

import json
from functools import partial

import numpy as np
import pytest
from PIL import Image

from domains.image.cli import main
from domains.image.model import SMALL
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
        (["sweep", "--seeds", "0"], "1 or more seeds"),
        (["sweep", "--source", "nowhere"], "nowhere is no data set, file or folder"),
        (["demo", "--judged", "3"], "at least 10 digits, got 3"),
    ],
)
def test_mistakes_are_one_sentence(arguments, message, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in fails(arguments, capsys)
