"""Submissions: what is written is read back, and what is bad is never written."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from domains.trajectory.export.argoverse import check_submission, read_submission, write_submission
from domains.trajectory.forecast import Forecast
from domains.trajectory.readers.argoverse import read_argoverse
from domains.trajectory.scene import Scene
from tests.trajectory import argoverse_files as small


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return read_argoverse(small.write(tmp_path / "scenario"))


def told(
    scene: Scene, worlds: int = 6, dt: float = 0.1, steps: int = 60, seed: int = 0
) -> Forecast:
    """Return a forecast of everybody seen now: their straight ways and a drift of each world."""
    generator = np.random.default_rng(seed)
    agents = np.flatnonzero(scene.present)
    seconds = dt * np.arange(1, steps + 1)[:, None]
    drift = generator.normal(size=(worlds, len(agents), 1, 2)) + scene.velocities()[agents, None]
    paths = scene.positions[agents, scene.now][:, None] + seconds * drift
    return Forecast(scene, agents, paths, dt, generator.dirichlet(np.ones(worlds)))


def test_a_submission_is_read_back_with_its_worlds(scene: Scene, tmp_path: Path) -> None:
    path, forecast = tmp_path / "s.parquet", told(scene)
    write_submission(path, [forecast])
    probabilities, tracks = read_submission(path)[small.NAME]
    order = np.argsort(-forecast.probabilities)
    assert set(tracks) == {"17", "9"}  # the focal and the scored one
    assert np.allclose(probabilities, forecast.probabilities[order], atol=1e-15)
    for id, worlds in tracks.items():
        row = list(forecast.agents).index(scene.agent(id))
        assert np.array_equal(worlds, forecast.worlds[order, row])
    assert check_submission(path, [scene]) == []
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_the_columns_are_those_of_the_challenge(scene: Scene, tmp_path: Path) -> None:
    write_submission(tmp_path / "s.parquet", [told(scene)])
    found = pa.parquet.read_schema(tmp_path / "s.parquet")
    paths = [f"predicted_trajectory_{axis}" for axis in "xy"]
    assert found.names == ["scenario_id", "track_id", "probability", *paths]
    assert {found.field(name).type.value_type for name in paths} == {pa.float64()}
    assert len(pa.parquet.read_table(tmp_path / "s.parquet")) == 2 * 6


def test_the_challenge_s_own_order_keeps_worlds_together(scene: Scene, tmp_path: Path) -> None:
    """Its reader sorts all rows by probability with pandas, whose order of equal ones is any."""
    pandas = pytest.importorskip("pandas")
    scenes = [replace(scene, name=f"s{i}") for i in range(40)]
    forecasts = [
        replace(told(s, seed=i), probabilities=np.ones(6) / 6) for i, s in enumerate(scenes)
    ]
    write_submission(tmp_path / "s.parquet", forecasts)
    table = pandas.read_parquet(tmp_path / "s.parquet")
    for name, rows in table.sort_values("probability", ascending=False).groupby("scenario_id"):
        forecast = forecasts[int(name[1:])]
        for track, own in rows.groupby("track_id"):
            row = list(forecast.agents).index(scene.agent(track))
            xs = np.stack(own["predicted_trajectory_x"].to_list())
            assert np.array_equal(xs, forecast.worlds[:, row, :, 0])
            assert np.allclose(own["probability"], 1 / 6, atol=1e-5)
            assert own["probability"].sum() == pytest.approx(1, abs=1e-12)


def test_other_steps_are_resampled(scene: Scene, tmp_path: Path) -> None:
    write_submission(tmp_path / "s.parquet", [told(scene, dt=0.4, steps=15)])
    write_submission(tmp_path / "fine.parquet", [told(scene)])
    coarse, fine = (read_submission(tmp_path / f"{n}.parquet")[small.NAME] for n in ("s", "fine"))
    assert np.allclose(coarse[1]["17"], fine[1]["17"], atol=1e-9)  # straight ways


def test_the_most_probable_worlds_are_kept_where_it_is_asked(scene: Scene, tmp_path: Path) -> None:
    forecast, path = told(scene, worlds=20), tmp_path / "s.parquet"
    with pytest.raises(ValueError, match="has 20 worlds and a submission at most 6; choose some"):
        write_submission(path, [forecast])
    with pytest.raises(ValueError, match="keep is 1 to 6 worlds, got 7"):
        write_submission(path, [forecast], keep=7)
    assert not path.exists()
    write_submission(path, [forecast], keep=6)
    best = np.sort(forecast.probabilities)[::-1][:6]
    assert np.allclose(read_submission(path)[small.NAME][0], best / best.sum())


def test_bad_forecasts_are_never_written(scene: Scene, tmp_path: Path) -> None:
    path, good = tmp_path / "s.parquet", told(scene)
    lacking = replace(good, agents=good.agents[:1], worlds=good.worlds[:, :1])
    several = [replace(lacking, scene=replace(scene, name=f"s{i}")) for i in range(5)]
    for bad, match in (
        ([lacking], "scored track 9 is missing; nothing is written"),
        (several, r"s0: scored track 9 is missing.*and \d more"),
        ([good, good], f"2 scenes have the name {small.NAME}"),
        ([], "there is no scene to forecast"),
        ([told(scene, steps=50)], "the forecast ends 5 s after now"),
    ):
        with pytest.raises(ValueError, match=match):
            write_submission(path, bad)
    assert not path.exists()


Change = Callable[[list[dict]], None]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda rows: rows.pop(0), "tracks 17 and 9 have worlds of different probabilities"),
        (lambda rows: rows.append(rows[0]), "7 worlds, at most 6 are allowed"),
        (lambda rows: rows[0].update(track_id="77"), "track 77 is unknown"),
        (lambda rows: rows[0].update(scenario_id="else"), "scenario else is unknown"),
        (lambda rows: [row.update(scenario_id="else") for row in rows], "NAME is missing"),
        (lambda rows: [rows.pop(0) for _ in range(6)], "scored track 17 is missing"),
        (lambda rows: rows[0].update(predicted_trajectory_x=[1.0]), "expected 60 steps, got 1 and"),
        (lambda rows: rows[7]["predicted_trajectory_y"].__setitem__(3, np.inf), "is no number"),
        (
            lambda rows: [r.update(probability=0.1 + 0.01 * i % 6) for i, r in enumerate(rows)],
            "sum",
        ),
        (lambda rows: rows[0].update(probability=np.nan), r"lie in [0, 1]"),
        (lambda rows: [row.update(probability=1 / 6) for row in rows], "worlds have equal prob"),
        (lambda rows: rows.clear(), "NAME is missing"),
    ],
)
def test_complaints_name_what_is_wrong(
    scene: Scene, tmp_path: Path, change: Change, complaint: str
) -> None:
    path = tmp_path / "s.parquet"
    write_submission(path, [told(scene)])
    table = pa.parquet.read_table(path)
    rows = table.to_pylist()
    change(rows)
    pa.parquet.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    found = check_submission(path, [scene])
    assert any(complaint.replace("NAME", small.NAME) in text for text in found), found


def test_files_that_are_no_submission_are_told(scene: Scene, tmp_path: Path) -> None:
    assert "no such file" in check_submission(tmp_path / "none.parquet", [scene])[0]
    path = next((tmp_path / "scenario").glob("*.parquet"))
    assert "another schema, without probability" in check_submission(path, [scene])[0]
    rows = {"scenario_id": ["s"] * 2, "track_id": ["1", "2"], "probability": [1.0, 0.5]}
    paths = {f"predicted_trajectory_{axis}": [[1.0] * 60] * 2 for axis in "xy"}
    pa.parquet.write_table(pa.table(rows | paths), tmp_path / "s.parquet")
    with pytest.raises(ValueError, match="track 2 of s needs 60 steps in each world and the prob"):
        read_submission(tmp_path / "s.parquet")


def test_the_real_scenario_makes_a_good_submission(shared: Path, tmp_path: Path) -> None:
    (folder,) = (p for p in (shared / "data" / "av2_sample").iterdir() if p.is_dir())
    real = read_argoverse(folder)
    write_submission(tmp_path / "s.parquet", [told(real)])
    assert check_submission(tmp_path / "s.parquet", [real]) == []
    assert set(read_submission(tmp_path / "s.parquet")[real.name][1]) == {"138951", "139344"}
