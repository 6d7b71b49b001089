"""The comparison on ETH/UCY and that of the priors: smoke runs, what they keep and refuse."""

import json

import pytest
import torch

from baselines.trajectory import compare, priors
from baselines.trajectory.runs import Runs
from domains.trajectory.metrics.windows import WindowSummary
from guided.checkpoint import CheckpointError
from tests.baselines.walkers import write_walkers
from tests.commands import refused

LEARNED = [
    "variety LSTM", "vanilla, samples", "vanilla, worlds", "ogd, samples", "ogd, worlds",
    "ogd, snapped", "marginal modes",
]  # fmt: skip
STRAIGHT = ["constant velocity", "mean velocity", "standing still"]


@pytest.fixture(scope="module", autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_walkers(tmp_path_factory.mktemp("walkers") / "eth_ucy")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


def test_the_comparison_trains_once_and_keeps_all_figures(folder, runs, tmp_path, capsys):
    path = tmp_path / "new" / "eth-ucy.json"
    given = [str(folder), "--runs", str(runs), "--folds", "eth", "zara2", "--seeds", "0", "1"]
    compare.main([*given, "--quick", "--json", str(path)])
    printed = capsys.readouterr().out
    kept = json.loads(path.read_text())
    assert list(kept["folds"]) == ["eth", "zara2"] and "torch" in kept["versions"]
    for own in kept["folds"].values():
        assert list(own) == STRAIGHT + LEARNED
        for method, each in own.items():
            assert [s["worlds"] for s in each] == [1 if method in STRAIGHT else 20] * 2
            assert {s["windows"] for s in each} == {4}
            assert method in printed
        assert own["constant velocity"][0] == own["constant velocity"][1]
        assert own["variety LSTM"][0] != own["variety LSTM"][1]
    straight = [own["constant velocity"][0]["jade"] for own in kept["folds"].values()]
    assert f"{sum(straight) / 2:.3f} ±0.000" in printed
    models = {p: p.stat().st_mtime_ns for p in runs.rglob("model.safetensors")}
    assert len(models) == 12 and {"quick"} == {p.relative_to(runs).parts[0] for p in models}
    compare.main([*given, "--quick", "--json", str(path)])
    assert {p: p.stat().st_mtime_ns for p in models} == models
    again = json.loads(path.read_text())
    assert again["folds"] == kept["folds"]
    assert WindowSummary(**kept["folds"]["eth"]["ogd, worlds"][0]).windows == 4


def test_the_priors_are_compared_window_by_window(folder, runs, tmp_path, capsys):
    paths = tmp_path / "priors.json", tmp_path / "priors.png"
    given = [str(folder), "--runs", str(runs), "--folds", "eth", "hotel", "--quick"]
    priors.main([*given, "--json", str(paths[0]), "--picture", str(paths[1])])
    printed, kept = capsys.readouterr().out, json.loads(paths[0].read_text())
    assert paths[1].read_bytes().startswith(b"\x89PNG")
    rows = {(r["fold"], r["prior"], r["calls"], r["start"]): r for r in kept["rows"]}
    late = [("ogd", c, c / 10) for c in (2, 4, 7, 10)]
    early = [
        (p, c, 1.0) for p, own in (("ogd", (2, 4, 7)), ("vanilla", (2, 4, 7, 10))) for c in own
    ]
    assert set(rows) == {(f, *one) for f in ("eth", "hotel") for one in [*late, *early]}
    for start in (0.4, 1.0):
        gaps, told = [], kept["differences"][f"ogd, T = {start:g}, 4 calls"]
        for fold in ("eth", "hotel"):
            gap = rows[fold, "ogd", 4, start]["jade"] - rows[fold, "vanilla", 10, 1.0]["jade"]
            own = told[fold]["jade"]
            assert own["value"] == pytest.approx(gap) and own["low"] <= gap <= own["high"]
            gaps.append(gap)
        assert told["mean of folds"]["jade"]["value"] == pytest.approx(sum(gaps) / 2)
    assert "ogd, T = 0.4, 4 calls" in printed and "vanilla, T = 1, 10 calls" in printed


def test_a_model_of_another_recipe_is_refused(folder, runs):
    place = Runs(folder, runs, quick=True)
    place.predictor("eth", 0, "ogd")
    (runs / "quick" / "eth-7-vanilla").mkdir()
    target = runs / "quick" / "eth-7-vanilla" / "model"
    target.symlink_to(runs / "quick" / "eth-0-ogd" / "model")
    with pytest.raises(CheckpointError, match="not of the recipe for pedestrians"):
        place.predictor("eth", 7, "vanilla")


def test_the_corrected_eth_is_tested_with_the_model_of_eth(folder, runs):
    place = Runs(folder, runs, quick=True)
    before = sorted(runs.rglob("model.safetensors"))
    place.predictor("eth-corrected", 0, "ogd")
    assert sorted(runs.rglob("model.safetensors")) == before
    with pytest.raises(ValueError, match=r"eth_obsmat\.txt is not there"):
        place.tests("eth-corrected")


@pytest.mark.parametrize("main", [compare.main, priors.main])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--folds", "eth", "mars"], "unknown folds mars; choose from eth, hotel"),
        (["--folds", "eth", "eth"], "at least one fold, and each once, got eth, eth"),
        (["--seeds", "1", "1"], "at least one seed, and each once, got 1, 1"),
        (["--threads", "0"], "threads of at least 1"),
        (["--count", "-1"], "a count of 0 or more"),
    ],
)
def test_mistakes_are_told_in_a_sentence(main, given, said, folder, runs, capsys):
    assert said in refused(main, [str(folder), "--runs", str(runs), *given], capsys)


def test_other_mistakes_are_told_too(folder, runs, tmp_path, capsys):
    said = refused(compare.main, [str(folder), "--ogd.samples", "5"], capsys)
    assert "20 worlds need as many samples, got 100 of the vanilla prior and 5" in said
    said = refused(priors.main, [str(folder), "--samples", "0"], capsys)
    assert "samples and threads of at least 1" in said
    for main in (compare.main, priors.main):
        said = refused(main, [str(tmp_path / "nowhere"), "--runs", str(runs)], capsys)
        assert "give the folder of the ETH/UCY text files" in said
        said = refused(main, [str(folder), "--json", str(tmp_path)], capsys)
        assert "it is a folder" in said
