"""Bandits: their laws as defined, their truth against closed forms, and the command."""

import json
import math
from pathlib import Path

import pytest
import torch
import tyro

from domains.rl.bandits.experiment import Found, exact_draws
from domains.rl.bandits.measure import (
    distance,
    mode_error,
    mode_shares,
    target_shares,
)
from domains.rl.bandits.sample import METHODS, OfEstimate, guided_model, sampled
from domains.rl.bandits.sets import MODES, RADIUS, RING_REWARDS, SETS, SPREAD, Logged, centres
from domains.rl.bandits.tables import summary, verdict
from domains.rl.bandits.train import BanditTraining, build_energy, build_score, train_energy
from domains.rl.bandits.truth import effective_size, log_mean_weight, resampled, weights
from domains.rl.commands.bandits import Bandits
from guided import Rng, VPLinear
from guided.exact import ExactDenoiser, Mixture

N = 20_000


@pytest.mark.parametrize("name", SETS)
def test_a_set_has_its_shapes_and_ranges_and_follows_its_seed(name: str) -> None:
    x, reward = SETS[name](N, Rng(0))
    assert x.shape == (N, 2) and reward.shape == (N,)
    assert x.dtype == reward.dtype == torch.float32
    assert 2 < x.abs().max() < 5
    assert x.mean(0).abs().max() < 0.6
    assert reward.min() >= 0 and 0.9 < reward.max() <= 1
    again, other = SETS[name](N, Rng(0)), SETS[name](N, Rng(1))
    assert torch.equal(again.x, x) and torch.equal(again.reward, reward)
    assert not torch.equal(other.x, x)


def test_modes_of_8gaussians_carry_their_numbers() -> None:
    x, reward = SETS["8gaussians"](N, Rng(0))
    for mode in range(MODES):
        mine = x[(reward * (MODES - 1)).round() == mode]
        assert len(mine) / N == pytest.approx(1 / MODES, abs=0.01)
        assert mine.mean(0).tolist() == pytest.approx(centres()[mode].tolist(), abs=0.03)
        assert mine.std(0).tolist() == pytest.approx([SPREAD] * 2, rel=0.05)
    assert centres().norm(dim=1).tolist() == pytest.approx([RADIUS] * MODES)


def test_rings_are_rewarded_by_radius() -> None:
    x, reward = SETS["rings"](N, Rng(0))
    for index, expected in enumerate(RING_REWARDS):
        mine = x[(x.norm(dim=1) - 3 * (1 - index / 4)).abs() < 0.2]
        right = reward[(x.norm(dim=1) - 3 * (1 - index / 4)).abs() < 0.2] == expected
        assert len(mine) / N == pytest.approx(0.25, abs=0.02)
        assert right.float().mean() == 1.0


def test_checkerboard_fills_every_second_square_and_rewards_columns() -> None:
    x, reward = SETS["checkerboard"](N, Rng(0))
    column, row = ((x + 4) / 2).floor().long().unbind(1)
    counts = torch.bincount(4 * column + row, minlength=16).reshape(4, 4)
    squares = torch.arange(4)
    assert (counts[(squares[:, None] + squares) % 2 == 1] == 0).all()
    assert (counts[(squares[:, None] + squares) % 2 == 0] / N - 1 / 8).abs().max() < 0.01
    assert torch.equal(reward, (column % 2).float())


def test_moons_reward_the_lower_one() -> None:
    x, reward = SETS["moons"](N, Rng(0))
    # Away from the noise: 4 deviations (0.8) outside the circle of radius 2 around (-1, -0.2).
    outside = (x - torch.tensor([-1.0, -0.2])).norm(dim=1) > 2.8
    assert outside.float().mean() > 0.1
    assert (reward[outside] == 1).all()
    assert reward.mean() == pytest.approx(0.5, abs=0.02)


def test_rewards_of_the_spirals_follow_the_radius() -> None:
    x, reward = SETS["swissroll"](N, Rng(0))
    assert torch.allclose(reward, (x.square().sum(1) / 9).clamp(max=1))
    x, reward = SETS["2spirals"](N, Rng(0))
    # The arm's angle is three times its radius, up to the jitter of at most 0.5 sqrt(2) / 3.
    assert ((1 - reward) * 10 / 3 - x.norm(dim=1)).abs().max() < 0.24 + 0.1 * 5


@pytest.mark.parametrize("beta", [3.0, 10.0, 20.0])
def test_the_truth_has_the_mode_weights_of_the_closed_form(beta: float) -> None:
    x = exact_draws("8gaussians", beta, N, 200_000, 0)
    expected = torch.softmax(beta * torch.arange(8) / 7, 0)
    assert target_shares(beta).tolist() == pytest.approx(expected.tolist(), rel=1e-5)
    assert (mode_shares(x) - expected).abs().max() < 0.015
    assert mode_error(x, beta) < 0.02


def test_weights_and_their_size_by_hand() -> None:
    reward = torch.tensor([0.0, math.log(3.0)])
    assert weights(reward, 1.0).tolist() == pytest.approx([0.25, 0.75])
    assert effective_size(reward, 1.0) == pytest.approx(1 / (0.25**2 + 0.75**2))
    assert log_mean_weight(reward, 1.0) == pytest.approx(math.log(2.0))
    assert effective_size(torch.rand(50), 0.0) == pytest.approx(50)


def test_a_pool_that_is_worth_too_little_is_refused() -> None:
    pool = Logged(torch.zeros(1000, 2), torch.linspace(0, 1, 1000))
    with pytest.raises(ValueError, match="give a larger pool"):
        resampled(pool, 100.0, 100, Rng(0))


def test_rewards_follow_their_actions_through_the_resampling() -> None:
    x, reward = resampled(SETS["swissroll"](N, Rng(0)), 10.0, 500, Rng(1))
    assert torch.allclose(reward, (x.square().sum(1) / 9).clamp(max=1))
    assert reward.mean() > 0.6


def test_the_distance_knows_equal_shifted_and_diverged_laws() -> None:
    rng = Rng(0)
    x, y = rng.normal((2000, 2)), rng.normal((2000, 2))
    assert abs(distance(x, y)) < 0.005
    # Far apart, the distance is twice the shift less the two spreads, E|X - X'| = sqrt(pi) each.
    shifted = y + torch.tensor([100.0, 0.0])
    assert distance(x, shifted) == pytest.approx(200 - 2 * math.sqrt(math.pi), rel=0.002)
    assert distance(x.index_fill(0, torch.tensor([3]), torch.nan), y) == math.inf


def test_shares_of_modes_by_hand() -> None:
    x = centres()[[0, 0, 0, 5]]
    assert mode_shares(x).tolist() == [0.75, 0, 0, 0, 0, 0.25, 0, 0]
    assert mode_error(centres(), 0.0) == pytest.approx(0)
    assert mode_error(centres()[:4], 0.0) == pytest.approx(0.5)


def test_dps_differentiates_the_clean_estimate() -> None:
    config = BanditTraining(width=8, depth=1)
    torch.manual_seed(0)
    score, energy = build_score(config).double(), build_energy(config, 1).double()
    level = score.schedule.level(0.4)
    x = Rng(0).normal((5, 2), torch.float64)
    model = guided_model("dps", score, {"mse": energy}, (2.0,), 2.0, 1e-3)
    shift = (score(x, level).x0 - model(x, level).x0) * level.alpha / level.sigma**2 / 2.0
    of = OfEstimate(score, energy, 1e-3)
    step = 1e-5 * torch.eye(2, dtype=torch.float64)
    slope = [(of(x + h, level) - of(x - h, level)) / 2e-5 for h in step]
    assert torch.allclose(shift, torch.stack(slope, 1), atol=1e-7)


def test_every_beta_has_an_energy_of_its_own() -> None:
    betas, config = (1.0, 5.0), BanditTraining(width=8, depth=1)
    torch.manual_seed(0)
    score, energy = build_score(config), build_energy(config, 2)
    level, x = score.schedule.level(0.4), Rng(0).normal((5, 2))
    found = [guided_model("cep", score, {"cep": energy}, betas, b, 1e-3)(x, level) for b in betas]
    assert not torch.allclose(found[0].x0, found[1].x0)
    with pytest.raises(ValueError, match="unknown method 'magic'"):
        guided_model("magic", score, {}, betas, 1.0, 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["raw", "self"])
def test_the_contrast_moves_the_weights_of_an_exact_score(target: str, tmp_path: Path) -> None:
    """With the exact score of 8gaussians, the energy alone answers for the weights."""
    config = BanditTraining(weights=target)
    betas = (3.0, 10.0, 20.0)
    torch.manual_seed(0)
    energy = build_energy(config, 3)
    logged = SETS["8gaussians"](config.pool, Rng(0))
    *_, state = train_energy(energy, "cep", logged, betas, config, 0, tmp_path)
    energy.load_state_dict(state.ema)
    law = Mixture(torch.ones(MODES), centres(), SPREAD**2)
    score = ExactDenoiser(law, VPLinear())
    for beta in betas:
        model = guided_model("cep", score, {"cep": energy}, betas, beta, config.t_min)
        assert mode_error(sampled(score, 4000, 40, Rng(0)), beta) > 0.3
        assert mode_error(sampled(model, 4000, 40, Rng(0)), beta) < 0.05


@pytest.mark.parametrize(
    ("name", "value"), [("depth", 0), ("width", 0), ("pool", 0), ("t_min", 1.0), ("candidates", 1)]
)
def test_networks_that_cannot_be_are_told_at_once(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"bandits need .*{name}.* got .*{value}"):
        BanditTraining(**{name: value})


def run(folder: Path, *more: str) -> list[dict]:
    """Run the command as small as it gets; return the rows that it wrote."""
    places = ["--out", str(folder / "run"), "--json", str(folder / "found.json")]
    tyro.cli(Bandits, args=["--quick", *places, *more]).run()
    return json.loads((folder / "found.json").read_text())["rows"]


def test_the_command_prints_writes_and_resumes(tmp_path: Path, capsys) -> None:
    options = ["--sets", "moons", "8gaussians", "--seeds", "0", "1", "--betas", "1", "4"]
    state = torch.random.get_rng_state()
    rows = run(tmp_path, *options)
    assert torch.equal(torch.random.get_rng_state(), state)
    printed = capsys.readouterr().out
    assert "cep against emse: " in printed and "8gaussians: energy distance" in printed
    assert len(rows) == 2 * 2 * (1 + len(METHODS))
    assert {(r["set"], r["beta"], r["method"]) for r in rows} == {
        (s, b, m) for s in ("moons", "8gaussians") for b in (1.0, 4.0) for m in ("exact", *METHODS)
    }
    assert all(len(row["each"]) == (8 if row["method"] == "exact" else 2) for row in rows)
    assert all(("modes" in row) == (row["set"] == "8gaussians") for row in rows)

    cell = tmp_path / "run" / "moons" / "0"
    first = (cell / "found.pt").read_bytes()
    assert run(tmp_path, *options) == rows
    assert (cell / "found.pt").read_bytes() == first
    # A run that was killed in a training: the other networks stay.
    (cell / "found.pt").unlink()
    (cell / "emse" / "resume.pt").unlink()
    before = (cell / "cep" / "resume.pt").stat().st_mtime_ns
    assert run(tmp_path, *options) == rows
    assert (cell / "cep" / "resume.pt").stat().st_mtime_ns == before


def test_the_command_draws(tmp_path: Path) -> None:
    pictures = ["--figure", str(tmp_path / "all.png"), "--figures", str(tmp_path / "each")]
    run(tmp_path, *pictures, "--sets", "rings", "--seeds", "0", "--betas", "2")
    for path in (tmp_path / "all.png", tmp_path / "each" / "rings.png"):
        picture = path.read_bytes()
        assert picture[:4] == b"\x89PNG" and len(picture) > 5_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sets", "pinwheel"], "unknown bandit 'pinwheel'"),
        (["--seeds"], "at least one bandit and one seed"),
        (["--seeds", "-1"], "no number below 0"),
        (["--figure-beta", "7"], "give one of --betas, 3, 10, 20"),
        (["--betas", "3", "3"], "different values of beta"),
        (["--betas"], "different values of beta"),
        (["--json", "."], "it is a folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes_are_one_sentence(arguments: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        run(tmp_path, *arguments)
    assert "\n" not in str(caught.value)


def test_a_folder_of_other_settings_is_refused(tmp_path: Path) -> None:
    one = ["--sets", "moons", "--seeds", "0", "--betas"]
    run(tmp_path, *one, "1")
    with pytest.raises(ValueError, match="another configuration"):
        run(tmp_path, *one, "2")


def test_means_errors_and_verdict_by_hand() -> None:
    def found(cep: float, mse: float) -> Found:
        values = {"exact": -0.3, "cep": cep, "emse": 1.0, "mse": mse, "dps": 3.2}
        values["unguided"] = math.inf
        rows = [{"beta": 3.0, "method": m, "distance": d} for m, d in values.items()]
        return Found(rows, {})

    rows = {r["method"]: r for r in summary("moons", {0: found(3.0, 6.0), 1: found(3.2, 6.2)})}
    assert rows["cep"]["distance"] == pytest.approx(3.1)
    assert rows["cep"]["error"] == pytest.approx(0.1)  # deviation 0.1 sqrt(2), two seeds
    assert rows["exact"]["distance"] == pytest.approx(0.3)
    told = dict(zip(("emse", "mse", "dps", "unguided"), verdict(rows.values()), strict=True))
    assert told["emse"] == (
        "cep against emse: nearer in 0 of 1 cases (not moons at 3); "
        "beyond noise nearer in 0, farther in 1"
    )
    sure, unsure = "nearer in 1 of 1 cases; beyond noise nearer in ", ", farther in 0"
    assert told["mse"].endswith(sure + "1" + unsure)
    assert told["dps"].endswith(sure + "0" + unsure)  # a difference of 0.1, a floor of 0.3
    assert told["unguided"].endswith(sure + "1" + unsure)
    # Means that lie far apart say little where the seeds disagree as much.
    rows = {r["method"]: r for r in summary("moons", {0: found(3.0, 9.0), 1: found(3.0, 2.0)})}
    assert verdict(rows.values())[1].endswith(sure + "0" + unsure)
