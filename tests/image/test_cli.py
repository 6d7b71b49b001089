"""``guided-image`` as a user runs it: every command, and every mistake in one sentence."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch

from domains.image.cli import main
from domains.image.flow.inverse import METHODS
from tests.commands import refused

fails = partial(refused, main)
SMALL = [
    *("--model.size", "16", "--fields.size", "16", "--model.patch", "2"),
    *("--model.widths", "8", "8", "--model.depth", "1"),
]


def train(folder: Path) -> list[str]:
    """Return a command that trains a small model."""
    places = ["--out", str(folder / "run"), "--cache", str(folder / "cache")]
    return ["train-flow", "--quick", *places, *SMALL]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small model, as ``train-flow`` leaves it."""
    folder = tmp_path_factory.mktemp("flow")
    main(train(folder))
    return folder / "run" / "model"


def test_train_resumes_and_finds_itself_finished(tmp_path: Path) -> None:
    main(train(tmp_path))
    weights = tmp_path / "run" / "model" / "model.safetensors"
    first = weights.read_bytes()
    main(train(tmp_path))
    assert weights.read_bytes() == first


def test_recover_prints_writes_and_draws_every_method(trained: Path, tmp_path, capsys) -> None:
    threads = torch.get_num_threads()
    path, figures = tmp_path / "new" / "flow.json", tmp_path / "figures"
    places = ["--checkpoint", str(trained), "--json", str(path), "--figures", str(figures)]
    main(["recover-flow", "--quick", "--time", "0.1", "--threads", "1", *places])
    torch.set_num_threads(threads)
    printed = capsys.readouterr().out
    found = json.loads(path.read_text())
    assert [row["method"] for row in found["rows"]] == [*METHODS, *METHODS]
    assert found["versions"]["torch"]
    for row in found["rows"]:
        assert row["method"] in printed
        assert row["rel_l2"] > 0 and len(row["each"]) == 1
    assert {file.name for file in figures.iterdir()} == {"flow-0.1.png", "flow-1.png"}


def test_the_same_seed_recovers_the_same(trained: Path, tmp_path: Path) -> None:
    found = []
    for name in ("a.json", "b.json"):
        options = ["--methods", "EnKG", "--noise", "0.5", "--time", "0.1", "--precision", "fp32"]
        places = ["--checkpoint", str(trained), "--json", str(tmp_path / name)]
        main(["recover-flow", "--quick", *options, *places])
        (row,) = json.loads((tmp_path / name).read_text())["rows"]
        found.append((row["rel_l2"], row["crps"], row["sweeps"]))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--methods", "magic"], "unknown method 'magic'"),
        (["--precision", "fp8"], "unknown precision 'fp8'"),
        (["--count", "0"], "at least 1 field"),
        (["--time", "0"], "a time"),
        (["--noise", "0"], "noises above 0"),
        (["--noise"], "noises above 0"),
        (["--threads", "-1"], "at least 0, got -1"),
        (["--moves", "0"], "move and worker, got"),
        (["--members", "3"], "at least 4 members"),
        (["--workers", "0"], "and 0 workers"),
        (["--checkpoint", "nowhere"], "nowhere is no checkpoint"),
        (["--json", "."], "it is a folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes_in_recovering_are_one_sentence(
    arguments: list[str], message: str, trained: Path, capsys
) -> None:
    folder = [] if "--checkpoint" in arguments else ["--checkpoint", str(trained)]
    assert message in fails(["recover-flow", "--quick", *folder, *arguments], capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fields.size", "32"], "give --model.size and --fields.size alike"),
        (["--fields.size", "9", "--model.size", "9"], "an even size of at least 8"),
        (["--fields.reynolds", "0"], "a Reynolds number"),
        (["--out", str(Path(__file__) / "runs")], "Not a directory"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes_in_training_are_one_sentence(
    arguments: list[str], message: str, tmp_path: Path, capsys
) -> None:
    assert message in fails([*train(tmp_path), *arguments], capsys)


def test_another_network_in_the_folder_of_a_run_is_refused(tmp_path: Path, capsys) -> None:
    main(train(tmp_path))
    message = fails([*train(tmp_path), "--model.depth", "2"], capsys)
    assert "build the same network or use another folder" in message


def test_a_truncated_checkpoint_is_refused(trained: Path, tmp_path: Path, capsys) -> None:
    broken = tmp_path / "model"
    broken.mkdir()
    (broken / "config.json").write_bytes((trained / "config.json").read_bytes())
    weights = (trained / "model.safetensors").read_bytes()
    (broken / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    message = fails(["recover-flow", "--quick", "--checkpoint", str(broken)], capsys)
    assert "truncated" in message


def test_help_names_every_command(capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    assert "train-flow" in shown and "recover-flow" in shown
