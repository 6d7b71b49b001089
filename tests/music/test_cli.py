"""``guided-music`` as a user runs it: every command, and every mistake in one sentence."""

import json
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pretty_midi
import pytest

from domains.music.cli import main
from domains.music.midi import read_midi
from domains.music.model import SHIPPED
from domains.music.roll import Grid
from tests.commands import refused
from tests.music.test_codec import random_roll

fails = partial(refused, main)
FAST = ["--steps", "3", "--candidates", "2", "--no-sound"]


@pytest.fixture
def song(tmp_path: Path) -> Path:
    path = tmp_path / "song.mid"
    random_roll(1, 16 * 10).to_midi(path)
    return path


def test_generate_writes_midi_picture_sound_and_report(tmp_path: Path) -> None:
    out = tmp_path / "out"
    rules = ["--rule", "chords=I-V-vi-IV", "--rule", "note_density=vertical:4"]
    main(
        ["generate", *rules, "--count", "2", "--out", str(out), "--steps", "3", "--candidates", "2"]
    )
    names = {f"clip-{i}.{kind}" for i in (1, 2) for kind in ("mid", "png", "wav")}
    assert {path.name for path in out.iterdir()} == names | {"report.json"}
    report = json.loads((out / "report.json").read_text())
    assert set(report["clips"][0]) == {"chord_progression", "note_density"}
    assert report["versions"]["torch"]
    # The reported error is that of the written file.
    measured = tmp_path / "again.json"
    file = str(out / "clip-1.mid")
    main(["rules", file, "--rule", "note_density=vertical:4", "--json", str(measured)])
    found = json.loads(measured.read_text())
    roll = read_midi(out / "clip-1.mid", Grid())
    if roll.columns > 112:  # a file does not store silent bars at its end
        ours = report["clips"][0]["note_density"]["error"]
        assert found["errors"]["note_density"]["error"] == pytest.approx(ours, rel=1e-4)


def test_same_seed_same_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        main(["generate", *FAST, "--seed", "7", "--out", str(tmp_path / name)])
    first, second = (tmp_path / name / "clip-1.mid" for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()


def test_infill_keeps_the_rest(tmp_path: Path, song: Path) -> None:
    main(["infill", str(song), "--bars", "5:6", *FAST, "--out", str(tmp_path / "out")])
    before = read_midi(song, Grid(), columns=160)
    after = read_midi(tmp_path / "out" / "infill-1.mid", Grid(), columns=160)
    assert np.array_equal(before.onset[:64], after.onset[:64])
    assert np.array_equal(before.velocity[96:] > 0, after.velocity[96:] > 0)


def test_continue_goes_on(tmp_path: Path, song: Path) -> None:
    main(["continue", str(song), "--bars", "4", *FAST, "--out", str(tmp_path / "out")])
    after = read_midi(tmp_path / "out" / "continue-1.mid", Grid(), columns=16 * 14)
    before = read_midi(song, Grid(), columns=160)
    assert np.array_equal(before.onset, after.onset[:160])


def test_like_copies_targets(tmp_path: Path, song: Path) -> None:
    main(["generate", "--like", str(song), *FAST, "--out", str(tmp_path / "out")])
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert set(report["clips"][0]) == {"pitch_histogram", "note_density", "chord_progression"}


def test_a_rule_of_the_user_and_its_failures_are_reported(tmp_path: Path) -> None:
    rules = tmp_path / "mine.py"
    rules.write_text(
        "def few(roll):\n    roll[:] = 0\n    return 1.0\n"
        "def broken(roll):\n    raise RuntimeError('no')\n"
        "def nan(roll):\n    return float('nan')\n"
        "def never(roll):\n    while True:\n        pass\n"
    )
    chosen = [f"--rule={rules}:{name}" for name in ("few", "broken", "nan", "never")]
    fast = ["--steps", "2", "--candidates", "2", "--no-sound", "--timeout", "0.3"]
    main(["generate", *chosen, *fast, "--out", str(tmp_path / "out")])
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert set(report["failures"]) == {"broken", "nan", "never"}
    assert report["clips"][0]["few"]["error"] == 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate", "--rule", "chord=I"], "there are: .*chord_progression"),
        (["generate", "--rule", "chord_progression=I-X-V"], "'X' is no scale degree"),
        (["generate", "--rule", "chord_progression=I-V-vi-IV-I-V-vi-IV-I"], "9"),
        (["generate", "--rule", "chords=H-C"], "H"),
        (["generate", "--rule", "note_density"], "--like"),
        (["generate", "--rule", "nowhere.py:f"], "nowhere.py"),
        (["generate", "--weight", "note_density=2"], "no rule to weigh"),
        (["generate", "--count", "0"], "at least 1"),
        (["generate", "--steps", "0"], "at least 1"),
        (["generate", "--bars", "0"], "1 to 64"),
        (["generate", "--checkpoint", "nowhere"], "nowhere"),
        (["generate", "--eta", "2"], "eta"),
        (["rules", "nowhere.mid"], "nowhere.mid"),
        (["train", "--no-chorales"], "nothing to train on"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes_are_one_sentence(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = ["--out", str(tmp_path / "out")] if arguments[0] != "rules" else []
    assert re.search(message, fails([*arguments, *folder], capsys))
    assert not list((tmp_path / "out").glob("*"))


def test_bad_midi_files_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], song: Path
) -> None:
    drums = pretty_midi.PrettyMIDI()
    drums.instruments.append(pretty_midi.Instrument(0, is_drum=True))
    drums.instruments[0].notes.append(pretty_midi.Note(90, 40, 0.0, 1.0))
    drums.write(str(tmp_path / "drums.mid"))
    (tmp_path / "empty.mid").write_bytes(b"")
    (tmp_path / "corrupt.mid").write_bytes(song.read_bytes()[:40])
    for name in ("drums", "empty", "corrupt"):
        assert f"{name}.mid" in fails(["rules", str(tmp_path / f"{name}.mid")], capsys)


def test_an_unwritable_folder_is_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    message = fails(["generate", "--out", str(tmp_path / "file" / "out")], capsys)
    assert "cannot write into" in message


def test_a_truncated_checkpoint_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "base"
    broken.mkdir()
    (broken / "config.json").write_bytes((SHIPPED / "config.json").read_bytes())
    weights = (SHIPPED / "model.safetensors").read_bytes()
    (broken / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    message = fails(["generate", "--checkpoint", str(broken), "--out", str(tmp_path / "o")], capsys)
    assert "model.safetensors" in message
    assert "truncated" in message


def test_demo_runs(tmp_path: Path) -> None:
    main(["demo", "--quick", "--out", str(tmp_path / "demo"), "--json", str(tmp_path / "d.json")])
    figures = json.loads((tmp_path / "d.json").read_text())
    assert set(figures["clips"]) == {"unguided", "guided"}
    assert (tmp_path / "demo" / "compare.png").exists()


def test_installed_command_and_help() -> None:
    command = Path(sys.executable).parent / "guided-music"
    shown = subprocess.run([command, "--help"], capture_output=True, text=True, check=True).stdout
    for name in ("generate", "infill", "continue", "rules", "train", "evaluate", "demo"):
        assert name in shown


def test_evaluate_prints_and_writes_its_figures(tmp_path: Path, capsys) -> None:
    path = tmp_path / "evaluate.json"
    main(["evaluate", "--rules", "pitch_histogram", "--quick", "--json", str(path)])
    figures = json.loads(path.read_text())
    assert set(figures["rules"]) == {"pitch_histogram"}
    assert "Overlap with real clips" in capsys.readouterr().out
    curve = tmp_path / "curve.png"
    main(["evaluate", "--rules", "pitch_histogram", "--quick", "--curve", str(curve)])
    assert curve.stat().st_size > 0


def test_train_resumes_and_its_model_generates(tmp_path: Path, song: Path) -> None:
    """A folder of MIDI in, a checkpoint out, a clip from it; the second call finds it finished."""
    for number in range(12):
        random_roll(number, 16 * 9).to_midi(song.parent / f"piece-{number}.mid")
    run = str(tmp_path / "run")
    command = ["train", "--midi", str(song.parent), "--no-chorales", "--quick", "--out", run]
    command += [
        "--cache",
        str(tmp_path / "cache"),
        "--model.width",
        "32",
        "--model.depth",
        "1",
        "--model.heads",
        "2",
    ]
    main(command)
    first = (tmp_path / "run" / "model" / "model.safetensors").read_bytes()
    main(command)
    assert (tmp_path / "run" / "model" / "model.safetensors").read_bytes() == first
    out = str(tmp_path / "out")
    main(["generate", "--checkpoint", str(tmp_path / "run" / "model"), *FAST, "--out", out])
