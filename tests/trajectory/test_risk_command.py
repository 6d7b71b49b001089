"""``guided-trajectory risk``, and risk as a constraint: against closed forms and counts."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import norm

from domains.trajectory import cli
from domains.trajectory.costs import Setting, parse
from domains.trajectory.costs.language import compile
from domains.trajectory.forecast import Forecast
from domains.trajectory.risk.plans import Doubt, density, judged, plans, radii
from domains.trajectory.scene import Scene
from domains.trajectory.scene_file import write_forecast
from tests.commands import refused

DT, STEPS = 0.5, 6
TIMES = DT * (1 + np.arange(STEPS))


def scene(kind="vehicle", speed=4.0):
    """`ego` goes along x; `other` stands 12 m ahead, and `walker` far away."""
    positions = np.zeros((3, 2, 2))
    positions[0, :, 0] = [-speed * DT, 0.0]
    positions[1] += [12.0, 0.0]
    positions[2] += [0.0, 100.0]
    kinds = (kind, "vehicle", "pedestrian")
    seen = np.ones((3, 2), bool)
    ids = ("ego", "other", "walker")
    return Scene("road", ids, kinds, positions, np.zeros((3, 2)), seen, 1, DT)


def forecast(sides=(0.0, 6.0, -6.0), chances=(0.5, 0.3, 0.2), speed=4.0, **more):
    """Plans that end so far beside the line; in the last world the other has gone."""
    worlds = np.zeros((len(sides), 3, STEPS, 2))
    worlds[:, 0, :, 0] = speed * TIMES
    worlds[:, 0, :, 1] = np.array(sides)[:, None] * np.minimum(TIMES / 2, 1)
    worlds[:, 1] += [12.0, 0.0]
    worlds[-1, 1] += [0.0, 50.0]
    worlds[:, 2] += [0.0, 100.0]
    return Forecast(scene(speed=speed, **more), np.arange(3), worlds, DT, np.array(chances))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "road.json"
    write_forecast(path, forecast())
    return str(path)


def run(*arguments):
    cli.main(["risk", *arguments])


def test_plans_are_judged_against_all_worlds():
    """The one that runs into the other touches it in the worlds in which it is there: 0.8."""
    found = forecast()
    reach = density(found.scene, 0, Doubt(0.05, 0.05, 0.01))
    kept = judged(found, 0, reach, limit=0.05)
    np.testing.assert_allclose(kept.risk.any, [0.8, 0.0, 0.0], atol=1e-9)
    assert kept.within and kept.index.tolist() == [1, 2]


@pytest.mark.parametrize("kind", ["vehicle", "pedestrian"])
def test_the_first_state_is_that_of_the_scene(kind):
    """The mean of where it goes is its plan, and the first spread that of the doubt."""
    found = forecast(kind=kind)
    reach = density(found.scene, 0, Doubt(0.2, 0.3, 0.05), samples=4000, seed=3)
    states = reach.reach(plans(found, 0)[:1], DT).states[0, :, :, :2]
    np.testing.assert_allclose(states.mean(0), plans(found, 0)[0], atol=0.05)
    assert np.sqrt(np.diag(reach.cov)).tolist() == pytest.approx(
        [0.2, 0.2, 0.3, 0.3] if kind == "pedestrian" else [0.2, 0.2, 0.05, 0.3]
    )


def test_radii_are_half_the_widths_of_both():
    np.testing.assert_allclose(radii(forecast(), 0), [1.95, (1.95 + 0.7) / 2])
    np.testing.assert_allclose(radii(forecast(kind="cyclist"), 0)[0], (0.7 + 1.95) / 2)


def test_a_larger_radius_is_a_larger_risk():
    found = forecast(sides=(3.0, 6.0, -6.0))
    reach = density(found.scene, 0, Doubt())
    risks = [judged(found, 0, reach, 0.05, radius).risk.any[0] for radius in (2.0, 3.0, 3.5)]
    assert risks[0] < risks[1] < risks[2] <= 0.8 + 1e-9


def test_the_command_prints_draws_and_writes(file, tmp_path, capsys):
    figures, picture = tmp_path / "found.json", tmp_path / "plans.png"
    arguments = ["--ego", "ego", "--limit", "0.1", "--json", str(figures)]
    run("--source", file, *arguments, "--picture", str(picture))
    said = capsys.readouterr().out
    assert "road, agent ego" in said and "2 of 3 plans have a risk of at most 0.1" in said
    rows = [line.split() for line in said.splitlines() if line[:4].strip().isdigit()]
    assert [row[0] for row in rows] == ["0", "1", "2"] and [row[-1] for row in rows][1:] == 2 * [
        "kept"
    ]
    held = json.loads(figures.read_text())
    assert held["kept"] == [1, 2] and held["probability"] == [0.5, 0.3, 0.2]
    assert np.array(held["step_risk"]).shape == (3, STEPS)
    assert 0.7 < held["risk"][0] <= 0.8 + 1e-9
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_fastest_is_taken_where_nobody_is_named(file, capsys):
    run("--source", file, "--quick")
    assert "road, agent ego" in capsys.readouterr().out


def test_where_no_plan_passes_none_is_kept(tmp_path, capsys):
    path = tmp_path / "road.json"
    write_forecast(path, forecast(sides=(0.0, 0.1, -0.1)))
    run("--source", str(path), "--limit", "0.01", "--quick", "--json", str(tmp_path / "f.json"))
    said = capsys.readouterr().out
    assert "none of 3 plans has a risk of at most 0.01" in said and "kept" not in said
    held = json.loads((tmp_path / "f.json").read_text())
    assert held["kept"] == [] and held["within"] is False


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--ego", "nobody"], "has no agent 'nobody'"),
        (["--limit", "2"], "a limit from 0 to 1"),
        (["--radius", "0"], "a radius is positive"),
        (["--doubt.position", "0"], "deviations above 0, got 0.0, 0.3"),
        (["--states", "1"], "samples >= 2"),
    ],
)
def test_a_mistake_is_one_sentence(file, arguments, says, capsys):
    assert says in refused(cli.main, ["risk", "--source", file, *arguments], capsys)


def test_an_agent_without_a_forecast_is_refused(tmp_path, capsys):
    path, found = tmp_path / "road.json", forecast()
    write_forecast(path, replace(found, agents=found.agents[1:], worlds=found.worlds[:, 1:]))
    says = refused(cli.main, ["risk", "--source", str(path), "--ego", "ego"], capsys)
    assert "the forecast has no agent 0" in says


def energy(line, agents=(0, 1)):
    setting = Setting.of(scene(), list(agents), DT, STEPS, (0.0, 0.0))
    return compile(parse(line), setting)


def test_the_constraint_is_met_where_the_bound_of_the_risk_is_the_limit():
    """Phi((r - d) / s) = limit at each step, from SciPy."""
    limit, radius = 0.05, 2.0
    spread = 0.3 + 0.2 * TIMES
    gaps = radius - norm.ppf(limit) * spread
    np.testing.assert_allclose(norm.cdf((radius - gaps) / spread), limit)
    p = torch.zeros(3, 2, STEPS, 2, dtype=torch.float64)
    p[:, 1, :, 1] = torch.from_numpy(gaps + np.array([[1e-9], [0.5], [-0.5]]))
    found = energy(f"agent ego: risk <= {limit} within {radius}")(p)
    np.testing.assert_allclose(found, [0, 0, 0.25 * STEPS * DT], atol=1e-9)


def test_half_a_chance_is_the_distance_itself():
    p = torch.randn(5, 2, STEPS, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    risk, apart = energy("all: risk <= 0.5 within 3"), energy("all: apart 3")
    np.testing.assert_allclose(risk(p), apart(p))


@pytest.mark.parametrize("limit", ["0", "0.6", "-1"])
def test_a_limit_out_of_its_range_is_refused(limit):
    with pytest.raises(ValueError, match=r"a risk is limited to above 0 and up to 0\.5, got"):
        energy(f"all: risk <= {limit} within 2")


def test_a_doubt_is_positive():
    with pytest.raises(ValueError, match="an uncertain state needs deviations above 0, got"):
        density(scene(), 0, Doubt(heading=-math.pi))
