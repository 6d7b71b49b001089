"""``guided-trajectory`` as a user runs it: every command on a small case."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from domains.trajectory.cli import commands, main
from domains.trajectory.commands import guide as guide_command
from domains.trajectory.commands import train as train_command
from domains.trajectory.commands.animate import headings_of
from domains.trajectory.evaluate import KINDS
from domains.trajectory.export.argoverse import check_submission, read_submission
from domains.trajectory.model import SHIPPED, load_model
from domains.trajectory.readers.commonroad import read_commonroad
from domains.trajectory.scene_file import read_forecast, read_scene
from guided.checkpoint import load
from tests.commands import refused
from tests.trajectory.argoverse_files import columns, write

SMALL = [
    *("--model.width", "16", "--model.heads", "2", "--model.layers", "1", "--model.modes", "3"),
    *("--model.latents", "4", "--model.window.history", "4", "--model.window.pieces", "8"),
]
FIGURES = {"scene", "unguided", "guided"}


def training(folder: Path, *more: str) -> list[str]:
    """Return a command that trains a small model."""
    return ["train", "--quick", "--out", str(folder), "--scenes.source", "plaza", *SMALL, *more]


def weights(run: Path) -> bytes:
    return (run / "model" / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished training."""
    folder = tmp_path_factory.mktemp("trajectory") / "run"
    main(training(folder))
    return folder


@pytest.fixture(scope="module")
def model(run: Path) -> list[str]:
    return ["--model", str(run / "model")]


@pytest.fixture(scope="module")
def forecast(model: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A forecast of a crossing with a map, as ``predict`` leaves it."""
    folder = tmp_path_factory.mktemp("forecast")
    main(["predict", "--quick", *model, "--source", "crossing", "--out", str(folder)])
    (path,) = folder.glob("*.json")
    return path


@pytest.fixture
def first(forecast: Path) -> str:
    """The id of an agent in it."""
    found = read_forecast(forecast)
    return found.scene.ids[found.agents[0]]


def guided(model: list[str], source: Path, out: Path, *more: str) -> dict[str, Any]:
    """Guide a scene; return the figures."""
    places = ["--source", str(source), "--out", str(out), "--json", str(out / "figures.json")]
    main(["guide", "--quick", *model, *places, *more])
    (figures,) = json.loads((out / "figures.json").read_text())["scenes"]
    assert figures.keys() == FIGURES
    return figures


def test_train_resumes_and_finds_itself_finished(run: Path, tmp_path, monkeypatch, capsys) -> None:
    """Interrupted after 4 of 6 steps, and saved after 3."""
    plain = train_command.run_training

    def interrupted(*args):
        for state in plain(*args):
            if state.step == 4:
                raise KeyboardInterrupt
            yield state

    monkeypatch.setattr(train_command, "run_training", interrupted)
    folder = tmp_path / "run"
    assert refused(main, training(folder), capsys) == "guided-trajectory: stopped"
    assert (folder / "resume.pt").exists() and not (folder / "model").exists()
    monkeypatch.setattr(train_command, "run_training", plain)
    for _ in range(2):
        main(training(folder))
        assert weights(folder) == weights(run)
        assert "held-out losses: modes" in capsys.readouterr().out


def test_fitted_latents_serve_a_training(tmp_path, capsys) -> None:
    fit = ["fit-latent", "--quick", "--dim", "4", "--window.history", "4", "--most", "5"]
    places = ["--out", str(tmp_path / "latents"), "--json", str(tmp_path / "latents.json")]
    main([*fit, "--scenes.source", "plaza", *places])
    found = json.loads((tmp_path / "latents.json").read_text())
    errors = [row["mean"] for row in found["rows"]]
    assert found["chosen"] == 4 and len(errors) == 5 and errors[4] < errors[0]
    assert "wrote 4 components" in capsys.readouterr().out
    main(training(tmp_path / "run", "--latents", str(tmp_path / "latents")))
    fitted = load(tmp_path / "latents")[1]["latents"]
    used = load_model(tmp_path / "run" / "model").latents.state_dict()
    assert all(torch.equal(fitted[name], used[name]) for name in used)


def test_predict_writes_the_same_worlds_again(model: list[str], forecast: Path, tmp_path) -> None:
    found = read_forecast(forecast)
    assert found.worlds.shape[0] == 6 and found.probabilities.sum() == pytest.approx(1)
    assert forecast.with_suffix(".png").stat().st_size > 10_000
    main(["predict", "--quick", *model, "--source", "crossing", "--out", str(tmp_path)])
    assert (tmp_path / forecast.name).read_bytes() == forecast.read_bytes()
    every = tmp_path / "every"
    main(
        [
            "predict",
            "--quick",
            *model,
            "--source",
            str(forecast),
            "--worlds",
            "0",
            "--out",
            str(every),
        ]
    )
    assert read_forecast(every / forecast.name).worlds.shape[0] == 8


def test_plot_draws_forecasts_and_scenes(forecast: Path, tmp_path, capsys) -> None:
    main(["plot", str(forecast), "--out", str(tmp_path / "a")])
    main(["plot", "plaza", "--count", "2", "--no-truth", "--out", str(tmp_path / "b")])
    for path in capsys.readouterr().out.split():
        assert Path(path).read_bytes().startswith(b"\x89PNG")
    assert len(list((tmp_path / "b").iterdir())) == 2


def test_panels_of_files_with_one_name_have_their_folders() -> None:
    paths = [
        Path(name) for name in ("a/x.json", "b/x.json", "b/y.json", "c/a/z.json", "d/a/z.json")
    ]
    first, second, third, *last = headings_of(paths)
    assert [first, second, third] == ["a/x", "b/x", "y"]
    assert last == [str(path.resolve()) for path in paths[3:]]


def test_animate_films_one_or_several(forecast: Path, tmp_path) -> None:
    image = pytest.importorskip("PIL.Image")
    sizes = []
    for count in (1, 2):
        copies = [str(forecast)]
        if count == 2:
            other = tmp_path / "other.json"
            other.write_bytes(forecast.read_bytes())
            copies.append(str(other))
        main(["animate", *copies, "--out", str(tmp_path / "film.gif"), "--fps", "2"])
        with image.open(tmp_path / "film.gif") as film:
            assert film.n_frames >= 12  # 6 s of future
            sizes.append(film.width)
    assert sizes[1] > sizes[0]


def test_guide_obeys_lines(
    model: list[str], forecast: Path, first: str, tmp_path, capsys, monkeypatch
) -> None:
    filmed: list[set[str]] = []

    def film(both, path: Path) -> None:
        filmed.append(set(both))
        path.touch()

    monkeypatch.setattr(guide_command, "animate_comparison", film)
    ask = f"agent {first}: goal 1 m ahead, 4 m left; speed <= 3"
    figures = guided(model, forecast, tmp_path, "--ask", ask, "--film")
    before, after = (figures[kind][0]["mean"] for kind in ("unguided", "guided"))
    assert after < 0.5 * before
    assert filmed == [{"unguided", "guided"}]
    printed = capsys.readouterr().out
    assert printed.count(f"agent {first}: goal 1 ahead, 4 left") == 2 and "met" in printed
    name = forecast.stem
    made = {f"{name}{end}" for end in (".png", ".gif", "-guided.json", "-unguided.json")}
    assert {path.name for path in tmp_path.iterdir()} == {*made, "figures.json"}
    ((goal, _, agent),) = read_forecast(tmp_path / f"{name}-guided.json").goals
    assert goal.startswith("goal 1 ahead") and read_scene(forecast).ids[agent] == first


def test_guide_reads_a_plan_with_edits(model: list[str], forecast: Path, first, tmp_path) -> None:
    found = read_forecast(forecast)
    gone = found.scene.ids[found.agents[1]]
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        f"edits:\n  - remove agent {gone}\nconstraints:\n"
        f"  - agent {first}: brake by 1\n  - {{agent: {first}, speed: 2, weight: 0.5}}\n"
    )
    edit = ["--edit", f"agent {first}: speed x 0.5"]
    figures = guided(model, forecast, tmp_path / "out", "--plan", str(plan), *edit)
    asked = [row["cost"] for row in figures["guided"]]
    assert asked == [f"agent {first}: brake by 1", f"agent {first}: speed = 2"]
    (path,) = (tmp_path / "out").glob("*-guided.json")
    scene = read_scene(path)
    assert gone not in scene.ids
    speeds = [abs(s.velocities()[s.agent(first)]).max() for s in (found.scene, scene)]
    assert speeds[1] == pytest.approx(speeds[0] / 2, abs=1e-2)


def test_constraints_that_contradict_each_other_show_in_the_residuals(
    model: list[str], forecast: Path, first: str, tmp_path
) -> None:
    figures = guided(model, forecast, tmp_path, "--ask", f"agent {first}: speed <= 1; speed >= 9")
    slow, fast = figures["guided"]
    assert slow["worst"] + fast["worst"] >= 7.9 and slow["met"] + fast["met"] <= 1


def test_export_writes_what_others_read(forecast: Path, tmp_path, capsys) -> None:
    found = read_forecast(forecast)
    table, scenario = tmp_path / "s.parquet", tmp_path / "s.xml"
    main(["export", str(forecast), "--out", str(table), "--keep", "3"])
    assert "1 scenarios, valid" in capsys.readouterr().out
    assert check_submission(table, [found.scene]) == []
    chances, tracks = read_submission(table)[found.scene.name]
    assert len(chances) == 3 and chances.sum() == pytest.approx(1)
    assert all(worlds.shape == (3, 60, 2) for worlds in tracks.values())
    main(["export", str(forecast), "--out", str(scenario), "--world", "1"])
    assert len(read_commonroad(scenario).road.lanes) == len(found.scene.road.lanes)


def test_evaluate_prints_and_writes_every_set(model: list[str], tmp_path, capsys) -> None:
    path = tmp_path / "new" / "figures.json"
    main(["evaluate", "--quick", *model, "--source", "plaza", "--worlds", "4", "--json", str(path)])
    found, printed = json.loads(path.read_text()), capsys.readouterr().out
    assert [row["kind"] for row in found["sets"]] == list(KINDS)
    assert "4 windows" in printed and "best of K" in printed and found["versions"]["torch"]
    for row in found["sets"]:
        assert f"{row['windows']['jade']:9.3f}" in printed
        assert row["windows"]["ade"] <= row["windows"]["jade"] <= row["windows"]["mean_jade"]
        assert row["windows"]["windows"] == 4


def test_tasks_compare_methods(model: list[str], tmp_path, capsys) -> None:
    path = tmp_path / "tasks.json"
    main(["tasks", "--quick", *model, "--source", "plaza", "--json", str(path)])
    found, printed = json.loads(path.read_text()), capsys.readouterr().out
    assert list(found["tasks"]) == ["goal", "deceleration", "route"] and found["scenes"] == 4
    for task, rows in found["tasks"].items():
        assert f"{task}, 4 scenes" in printed
        errors = {row["guidance"]["method"]: row["mean_jfdeg"] for row in rows}
        assert len(errors) == 5 and errors["ecmr"] < 0.5 * errors["none"] > errors["ecm"]


def test_tasks_of_a_folder_choose_strengths_on_other_scenes(model: list[str], tmp_path) -> None:
    """Of three scenes the first is for the choice."""
    for i in range(3):
        rows = columns()
        rows["scenario_id"] = [f"s{i}"] * len(rows["scenario_id"])
        write(tmp_path / str(i), rows)
    path = tmp_path / "tasks.json"
    some = ["--tasks", "goal", "--methods", "ecm"]
    main(["tasks", "--quick", *model, "--source", str(tmp_path), *some, "--json", str(path)])
    assert json.loads(path.read_text())["scenes"] == 2


def test_the_demo_runs_where_the_shipped_weights_are(tmp_path, capsys) -> None:
    if not SHIPPED.is_dir():
        pytest.skip("needs the shipped weights")
    main(["demo", "--quick", "--out", str(tmp_path)])
    assert "brake by 3" in capsys.readouterr().out
    assert len(list(tmp_path.glob("*.json"))) == 3
    assert list((tmp_path / "braking").glob("*-guided.json"))


def test_help_names_every_command(capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in commands())
