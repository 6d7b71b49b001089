"""Thinning episodes out over costs and returns, and what is told about them."""

import json
from pathlib import Path

import minari
import numpy as np
import pytest

from domains.rl.cli import main
from domains.rl.collect.behaviour import Uniform
from domains.rl.collect.presets import PRESETS, Preset, Quality
from domains.rl.collect.recorder import Size, record
from domains.rl.collect.spread import Spread, report
from domains.rl.safe.point_robot import ID

RANDOM = (Quality("random", Uniform()),)


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "sets"))
    return tmp_path


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_a_bin_keeps_no_more_than_its_number_and_all_if_it_has_fewer() -> None:
    # Bins of cost: [0, 5), [5, 10]; of return: [0, 1), [1, 2), [2, 3), [3, 4].
    costs = [0, 1, 4, 4.9, 5, 10, 10, 0]
    returns = [0, 0.5, 0.9, 0.2, 0, 4, 3, 1]
    kept = Spread(2, cost_bins=2, return_bins=4).keep(costs, returns, rng())
    # Of the first four, which share a bin, two; the others are at most two in theirs.
    assert set(kept[2:]) == {4, 5, 6, 7}
    assert len(kept) == 6 and set(kept[:2]) < {0, 1, 2, 3}
    assert Spread(9, 2, 4).keep(costs, returns, rng()).tolist() == list(range(8))


def test_many_episodes_agree_with_numpys_histogram() -> None:
    costs, returns = rng(1).exponential(3.0, 3000), rng(2).normal(size=3000)
    spread = Spread(5)
    kept = spread.keep(costs, returns, rng())
    assert len(set(kept)) == len(kept) and (np.diff(kept) > 0).all()
    limits = [[costs.min(), costs.max()], [returns.min(), returns.max()]]
    counts, *_ = np.histogram2d(costs, returns, (10, 50), limits)
    left, *_ = np.histogram2d(costs[kept], returns[kept], (10, 50), limits)
    np.testing.assert_array_equal(left, np.minimum(counts, 5))
    assert spread.coverage(costs, returns) == (counts > 0).sum() / 500


def test_the_draw_is_the_seeds_and_fair() -> None:
    costs, returns = np.zeros(4), np.ones(4)
    spread = Spread(2)
    assert np.array_equal(spread.keep(costs, returns, rng(3)), spread.keep(costs, returns, rng(3)))
    generator = rng()
    draws = np.concatenate([spread.keep(costs, returns, generator) for _ in range(2000)])
    # Each of the 4 is drawn with 1/2: 1000 of 2000, with a deviation of 22.
    assert np.abs(np.bincount(draws, minlength=4) - 1000).max() < 110


def test_the_report_is_what_it_says() -> None:
    found = report([0.0, 0.0, 1.0, 3.0], [1.0, 2.0, 3.0, 4.0])
    assert found["mean_cost"] == 1.0 and found["safe"] == 0.5
    # Sums of products of deviations: 5 over the root of 5 times 6.
    assert found["return_cost_correlation"] == pytest.approx(5 / 30**0.5)
    assert report([1.0, 1.0], [1.0, 2.0])["return_cost_correlation"] is None
    assert report([0.0], [1.0]) == {
        "mean_cost": 0.0,
        "safe": 1.0,
        "return_cost_correlation": None,
    }


def test_mistakes_are_one_sentence() -> None:
    for numbers in ((0,), (1, 0), (1, 1, 0)):
        with pytest.raises(ValueError, match="a spread needs one episode a bin"):
            Spread(*numbers)
    for costs, returns in (([], []), ([1.0], [1.0, 2.0]), ([[1.0]], [[1.0]])):
        with pytest.raises(ValueError, match="give one of each for every episode"):
            Spread(1).keep(costs, returns, rng())
    with pytest.raises(ValueError, match="must be finite, got NaN"):
        report([np.nan], [1.0])


def test_a_preset_with_a_spread_writes_what_is_kept() -> None:
    size = Size(1, 30)
    every, _ = record(Preset(ID, RANDOM, Uniform(), 1), "guided/a-v0", size, reference_episodes=1)
    spread = Spread(2, cost_bins=3, return_bins=3)
    preset = Preset(ID, RANDOM, Uniform(), 1, spread=spread)
    seen = []
    kept, _ = record(
        preset, "guided/b-v0", size, reference_episodes=1, advance=lambda e: seen.append(e)
    )
    assert seen == every
    index = [every.index(e) for e in kept]
    assert index == sorted(index) and 2 <= len(index) < 30
    costs, returns = [e.cost for e in every], [e.total for e in every]
    cells, _, _ = np.histogram2d(costs, returns, 3)
    assert len(kept) == np.minimum(cells, 2).sum()
    whole, some = minari.load_dataset("guided/a-v0"), minari.load_dataset("guided/b-v0")
    assert some.total_episodes == len(kept)
    for place, i in enumerate(index):
        np.testing.assert_array_equal(some[place].actions, whole[i].actions)
        np.testing.assert_array_equal(some[place].infos["cost"], whole[i].infos["cost"])
    said = [m["cost"] for m in some.storage.get_episode_metadata(range(len(kept)))]
    assert said == [e.cost for e in kept]
    told = some.storage.metadata["description"]
    assert f"Of 30 recorded episodes {len(kept)} are kept: at most 2 episodes for each" in told
    assert "kept" not in whole.storage.metadata["description"]


def test_a_spread_needs_a_task_with_costs(root: Path) -> None:
    preset = Preset("Pendulum-v1", RANDOM, Uniform(), 1, spread=Spread(1))
    with pytest.raises(ValueError, match="Pendulum-v1 tells none; leave out the preset's spread"):
        record(preset, "guided/a-v0", Size(1, 3), reference_episodes=1)
    assert not list(root.glob("sets/**/*.hdf5"))


def test_the_command_tells_costs_and_what_was_kept(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spread = Spread(1, cost_bins=2, return_bins=2)
    monkeypatch.setitem(PRESETS, "test/point", Preset(ID, RANDOM, Uniform(), 1, spread=spread))
    facts = root / "facts.json"
    command = ["collect", "test/point", "--episodes", "20", "--references", "1"]
    main([*command, "--json", str(facts)])
    told = json.loads(facts.read_text())
    data = minari.load_dataset("guided/test-point-v0")
    costs = [e.infos["cost"][1:].sum() for e in data.iterate_episodes()]
    assert told["recorded"] == 20 and told["episodes"] == len(costs) <= 4
    assert told["coverage"] == len(costs) / 4
    assert told["mean_cost"] == pytest.approx(np.mean(costs))
    assert told["safe"] == np.mean([c == 0 for c in costs])
    returns = [e.rewards.sum() for e in data.iterate_episodes()]
    assert told["return_cost_correlation"] == pytest.approx(np.corrcoef(costs, returns)[0, 1])
    printed = capsys.readouterr().out
    assert f"kept {len(costs)} of 20 recorded episodes" in printed
    assert f"mean cost {np.mean(costs):.2f}, safe" in printed


def test_the_command_says_nothing_of_costs_for_other_tasks(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = root / "facts.json"
    main(["collect", "pendulum/random", "--quick", "--json", str(facts)])
    told = json.loads(facts.read_text())
    assert not {"mean_cost", "safe", "return_cost_correlation", "recorded"} & told.keys()
    assert "cost" not in capsys.readouterr().out
