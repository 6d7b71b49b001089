"""Both orders of FISOR's training, compared on the point robot."""

import json

import numpy as np
import pytest

pytest.importorskip("gymnasium")
pytest.importorskip("minari")

from baselines.rl import fisor_orders
from baselines.rl.fisor_orders import Trained, main, summary, table
from domains.rl.bench.problem import made_up
from domains.rl.cli import main as guided_rl
from domains.rl.safe.experiment import Truth
from domains.rl.safe.reachable import Grid, feasible_value
from tests.commands import refused

DATASET = "made/robot-v0"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(tmp_path_factory.mktemp("minari")))
        guided_rl(["collect", "pointrobot/mixed", "--quick", "--id", DATASET])
        yield


@pytest.fixture
def coarse(monkeypatch):
    """A truth of a fraction of a second."""
    rough = feasible_value(Grid(points=31, angles=12))
    monkeypatch.setattr(fisor_orders.Truth, "computed", lambda gamma: Truth(rough, rough))


def made(order, seed, iou, violated, arrived):
    return Trained(order, seed, 10.0 * (seed + 1), 8.0, iou, np.array(violated), np.array(arrived))


def test_rates_are_those_of_all_ways_of_all_seeds():
    ours = [
        made("decoupled", 0, 0.9, [False] * 60, [True] * 60),
        made("decoupled", 1, 0.8, [True] + [False] * 59, [False] * 60),
    ]
    (row,) = summary(ours)
    assert (row["wall"], row["iou"], row["least_iou"]) == (15.0, pytest.approx(0.85), 0.8)
    assert row["violated"].value == pytest.approx(1 / 120)
    # Clopper-Pearson of 1 in 120, from tables of the F law: 0.021 % to 4.56 %.
    assert row["violated"].low == pytest.approx(0.00021, abs=1e-5)
    assert row["violated"].high == pytest.approx(0.0456, abs=1e-4)
    assert row["arrived"].value == 0.5
    both = summary([*ours, made("interleaved", 0, 0.7, [False], [True])])
    assert [r["order"] for r in both] == ["decoupled", "interleaved"]
    printed = table(both)
    assert "0.83% (0.02% to 4.56%)" in printed and "(0.800)" in printed


def test_the_command_trains_both_with_as_many_updates(recorded, coarse, tmp_path, capsys):
    path, out = tmp_path / "orders.json", tmp_path / "out"
    call = [DATASET, "--seeds", "1", "--quick", "--json", str(path), "--out", str(out)]
    main(call)
    printed, found = capsys.readouterr().out, json.loads(path.read_text())
    assert [row["order"] for row in found["orders"]] == ["decoupled", "interleaved"]
    assert [(t["order"], t["seed"], t["starts"]) for t in found["trainings"]] == [
        ("decoupled", 1, 4),
        ("interleaved", 1, 4),
    ]
    assert found["training"]["critic_loop"]["steps"] == 20
    for row in found["orders"]:
        assert row["order"] in printed and 0 <= row["iou"] <= 1
        assert (out / row["order"] / "seed-1" / "policy").is_dir()
    assert "is not empty, so times" in refused(main, call, capsys)


def test_mistakes_are_one_sentence(recorded, monkeypatch, capsys):
    assert "at least one step" in refused(main, [DATASET, "--critic-steps", "0"], capsys)
    assert "give different seeds" in refused(main, [DATASET, "--seeds", "0", "0"], capsys)
    assert "none/such-v0" in refused(main, ["none/such-v0", "--quick"], capsys)
    monkeypatch.setattr(fisor_orders, "load", lambda name: made_up(2, 5, 0))
    assert "observations of 17 numbers; give data of the point robot" in refused(
        main, [DATASET, "--quick"], capsys
    )
