"""``guided-image train`` and ``train-classifier`` as a user runs them, mistakes included."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from domains.image.classifier import load_classifier
from domains.image.cli import main
from domains.image.model import load_model, load_weak
from tests.commands import refused

fails = partial(refused, main)
SIZES = {
    "train": ["--model.width", "16", "--model.depth", "1", "--model.heads", "2"],
    "train-classifier": ["--model.width", "4", "--model.features", "8"],
}

UNET = ["--model.net", "unet", "--loop.optimizer", "adamw"]


def command(name: str, folder: Path) -> list[str]:
    """Return a command that trains something small."""
    return [name, "--quick", "--out", str(folder / "run"), *SIZES[name]]


def pictures(folder: Path, count: int = 12, size: int = 8) -> Path:
    """Write as many random colour pictures of two classes each."""
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 256, (size, size, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


@pytest.mark.parametrize("name", list(SIZES))
def test_a_run_writes_its_figures_and_finds_itself_finished(name, tmp_path, capsys) -> None:
    figures = tmp_path / "new" / "figures.json"
    main([*command(name, tmp_path), "--json", str(figures)])
    written = json.loads(figures.read_text())
    assert written["steps"] == 20 and written["versions"]["torch"]
    said = "held-out loss" if name == "train" else "held-out accuracy"
    assert said in capsys.readouterr().out
    assert written[said.replace("held-out ", "held_out_")] > 0
    weights = tmp_path / "run" / "model" / "model.safetensors"
    first = weights.read_bytes()
    assert len((tmp_path / "run" / "log.jsonl").read_text().splitlines()) == 4
    main(command(name, tmp_path))
    assert weights.read_bytes() == first


def test_train_reads_a_folder_of_classes_with_either_network(tmp_path: Path) -> None:
    data = ["--data", str(pictures(tmp_path / "data", size=10)), "--size", "8"]
    main([*command("train", tmp_path), *data])
    model, config = load_model(tmp_path / "run" / "model")
    assert config.names == ("cat", "dog") and config.shape == (3, 8, 8)
    assert load_weak(tmp_path / "run" / "model").layers == model.layers == 1
    unet = [*UNET, "--model.patch", "1", "--model.widths", "8", "8"]
    out = ["--out", str(tmp_path / "unet")]
    main([*command("train", tmp_path), *data, "--grey", *unet, *out])
    _, config = load_model(tmp_path / "unet" / "model")
    assert config.net == "unet" and config.shape == (1, 8, 8)


def test_train_classifier_reads_a_folder_of_classes(tmp_path: Path) -> None:
    data = pictures(tmp_path / "data")
    main([*command("train-classifier", tmp_path), "--data", str(data), "--half", "odd"])
    config = load_classifier(tmp_path / "run" / "model").config
    assert config.names == ("cat", "dog") and config.shape == (3, 8, 8)


@pytest.mark.parametrize("name", list(SIZES))
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere"], "nowhere is no data set, file or folder"),
        (["--size", "9"], "the digits are 8 x 8, got a size of 9"),
        (["--data", "."], "has no pictures in it"),
        (["--data", __file__], "is no IDX file"),
        (["--out", str(Path(__file__) / "runs")], "Not a directory"),
        (["--json", "."], "it is a folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes_of_both_are_one_sentence(name, arguments, message, tmp_path, capsys) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    arguments = [str(folder) if a == "." and "--data" in arguments else a for a in arguments]
    assert message in fails([*command(name, tmp_path), *arguments], capsys)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("train", ["--model.patch", "3"], "a patch must divide both sides"),
        ("train", ["--model.width", "18"], "multiple of 2 * heads"),
        ("train", [*UNET, "--model.patch", "8"], "with sides that 16 divides"),
        ("train", ["--model.net", "unet"], "use optimizer='adamw'"),
        ("train", ["--dropped", "1.5"], "in [0, 1], got 1.5"),
        ("train-classifier", ["--move", "-1"], "expected a move in [0, 1)"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes_of_one_are_one_sentence(name, arguments, message, tmp_path, capsys) -> None:
    assert message in fails([*command(name, tmp_path), *arguments], capsys)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("train", ["--model.heads", "0"], "needs at least 1 head"),
        ("train", ["--loop.lr", "-1"], "lr must be positive"),
        ("train-classifier", ["--model.features", "0"], "a classifier needs positive"),
    ],
)
def test_a_number_that_the_parser_refuses_is_named(name, arguments, message, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([*command(name, tmp_path), *arguments])
    printed = " ".join(capsys.readouterr().err.split())
    assert stopped.value.code == 2 and message in printed and "Traceback" not in printed


@pytest.mark.parametrize(
    ("name", "changed"), [("train", "--model.depth"), ("train-classifier", "--model.features")]
)
def test_another_run_in_the_folder_is_refused(name, changed, tmp_path, capsys) -> None:
    main(command(name, tmp_path))
    message = fails([*command(name, tmp_path), changed, "2"], capsys)
    assert "belongs to a run with another configuration" in message


def test_pictures_without_classes_are_not_classified(tmp_path: Path, capsys) -> None:
    data = str(pictures(tmp_path / "data") / "cat")
    arguments = [*command("train-classifier", tmp_path), "--data", data]
    assert "no labels, so there is nothing to classify" in fails(arguments, capsys)
    main([*command("train", tmp_path), "--data", data])
    assert load_model(tmp_path / "run" / "model")[1].names == ()


@pytest.mark.parametrize("name", list(SIZES))
def test_pictures_of_which_none_is_held_out_are_refused_before_training(name, tmp_path, capsys):
    data = str(pictures(tmp_path / "data", count=2))
    message = fails([*command(name, tmp_path), "--data", data], capsys)
    assert "none of 4 pictures is held out" in message
    assert list((tmp_path / "run").iterdir()) == []


def test_help_names_the_commands(capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    assert "train " in shown and "train-classifier" in shown
    for name in SIZES:
        with pytest.raises(SystemExit):
            main([name, "--help"])
        shown = capsys.readouterr().out
        assert "--data" in shown and "--model.shape" not in shown and "--model.names" not in shown
