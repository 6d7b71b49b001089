"""Recovery against posteriors in closed form, and the commands as a user runs them."""

import json
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from domains.image.cli import main
from domains.image.data.source import load_images
from domains.image.inverse_methods import METHODS, NotApplicable
from domains.image.inversion import Settings
from domains.image.invert import Recovery, recover
from domains.image.operators import OPERATORS, corrupt, operator_named
from domains.image.pictures import read_pictures
from domains.image.prior import KERNEL, Prior, exact_prior
from domains.image.recovery_scores import misfit, psnr, relative_l2, scores
from guided import VE, Rng
from guided.exact import gaussian
from tests.commands import refused

fails = partial(refused, main)
GREY = (1, 8, 8)
SMALL = Settings(steps=5, members=4, candidates=2, rollout=2)
LINEAR = ("inpainting", "box", "super-resolution", "gaussian-blur", "motion-blur")


@pytest.fixture(scope="module")
def digits():
    return load_images("digits")


@pytest.fixture(scope="module")
def prior(digits) -> Prior:
    return exact_prior(digits.train.x)


def bayes(kernels: np.ndarray, std: float, A: np.ndarray, y: np.ndarray, noise: float):
    """Return the posterior mean and the trace of its covariance under Gaussians about kernels."""
    square = std**2 * A @ A.T + noise**2 * np.eye(len(A))
    gaps = y - kernels @ A.T
    pulls = np.linalg.solve(square, gaps.T).T
    logs = -0.5 * (gaps * pulls).sum(1)
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    means = kernels + std**2 * pulls @ A
    mean = weights @ means
    within = std**2 * np.eye(A.shape[1]) - std**4 * A.T @ np.linalg.solve(square, A)
    return mean, np.trace(within) + weights @ ((means - mean) ** 2).sum(1)


@pytest.mark.parametrize("name", LINEAR)
def test_the_exact_method_draws_from_bayes_rule(name: str, digits, prior) -> None:
    measured = corrupt(operator_named(name, GREY), digits.test.x[:2], 0.2, seed=1)
    members = recover("exact", prior, measured, Settings(members=800)).members
    A = measured.degradation.matrix().numpy()
    kernels = digits.train.x.flatten(1).double().numpy()
    for row in range(2):
        y = measured.y[row].flatten().double().numpy()
        mean, trace = bayes(kernels, KERNEL, A, y, 0.2)
        drawn = members[row].flatten(1).double().numpy()
        error = ((drawn.mean(0) - mean) ** 2).sum()
        assert error < 3 * trace / 800  # what 800 draws leave, on average trace / 800
        assert abs(drawn.var(0).sum() / trace - 1) < 0.15


def test_fk_particles_reach_the_exact_posterior(digits) -> None:
    """It converges with the number of particles; here are enough for few components."""
    kernels = digits.train.x[:12]
    prior, degradation = exact_prior(kernels), operator_named("super-resolution:factor=4", GREY)
    measured = corrupt(degradation, digits.test.x[:2], 0.3)
    settings = Settings(steps=60, members=3000)
    members = recover("FK", prior, measured, settings).members
    for row in range(2):
        y = measured.y[row].flatten().double().numpy()
        A = measured.degradation.matrix().numpy()
        mean, trace = bayes(kernels.flatten(1).double().numpy(), KERNEL, A, y, 0.3)
        drawn = members[row].flatten(1).double().numpy()
        prior_gap = np.linalg.norm(kernels.flatten(1).mean(0).numpy() - mean)
        # Resampling leaves fewer ancestors than particles: a tenth of the way is left at most.
        assert np.linalg.norm(drawn.mean(0) - mean) < 0.1 * prior_gap
        assert abs(drawn.var(0).sum() / trace - 1) < 0.25


def test_tmpd_is_exact_for_a_gaussian_prior(digits) -> None:
    x0 = digits.train.x.double()
    cov = torch.cov(x0.flatten(1).mT) + 0.05 * torch.eye(64)
    law = gaussian(x0.mean(0), cov)
    prior = Prior(law.denoiser(VE(sigma_max=10.0)), GREY, law)
    measured = corrupt(operator_named("super-resolution", GREY), digits.test.x[:1].double(), 0.2)
    A = measured.degradation.matrix()
    posterior, _ = law.measured(A, measured.y.flatten(1), 0.2)
    exact, cov = posterior.mean()[0], posterior.cov()[0]
    missing = []
    for steps in (30, 60):
        settings = Settings(steps=steps, members=400)
        members = recover("TMPD", prior, measured, settings).members[0]
        error = (members.mean(0) - exact).square().sum()
        assert float(error) < 3 * float(cov.trace()) / 400
        missing.append(1 - float(members.flatten(1).var(0).sum() / cov.trace()))
    # What variance is missing are the steps' own errors, of first order: half of it goes.
    assert 0.35 < missing[1] / missing[0] < 0.75 and missing[1] < 0.15


def test_methods_go_towards_the_posterior_and_dps_and_enkg_keep_their_bias(digits, prior) -> None:
    degradation, truth = operator_named("gaussian-blur", GREY), digits.test.x[400:404]
    measured = corrupt(degradation, truth, 0.1)
    settings = Settings(steps=30, members=16, candidates=8)
    found = {m: recover(m, prior, measured, settings).members for m in METHODS if m != "TMPD"}
    exact = found["exact"].mean(1)
    gap = {m: float((x.mean(1) - exact).norm()) for m, x in found.items()}
    fits = {m: float(misfit(x, measured).mean()) for m, x in found.items()}
    for method in ("SCG", "FK", "EnKG", "DPS", "MPGD", "best-of-n"):
        assert gap[method] < gap["none"], method
        assert fits[method] < fits["none"], method
    assert fits["SCG"] < fits["best-of-n"]
    assert abs(fits["exact"] - 1) < 0.15  # as of the truth
    # The adaptive EnKG stops at the noise, and ends with less spread than the posterior.
    assert abs(fits["EnKG"] - 1) < 0.15
    assert float(found["EnKG"].var(1).mean()) < 0.6 * float(found["exact"].var(1).mean())
    # DPS uses the noise nowhere.
    other = degradation.operator(measured.y, 7.0)
    louder = type(measured)(degradation, other, truth, measured.y, 7.0)
    assert torch.equal(recover("DPS", prior, louder, settings).members, found["DPS"])


@pytest.mark.parametrize("method", METHODS)
def test_a_picture_is_recovered_alone_as_among_others(method: str, digits, prior) -> None:
    degradation, truth = operator_named("super-resolution", GREY), digits.test.x[:5]
    all_of_them = recover(method, prior, corrupt(degradation, truth, 0.1), SMALL)
    alone = corrupt(degradation, truth[3:4], 0.1, index=[3])
    one = recover(method, prior, alone, SMALL, index=[3])
    torch.testing.assert_close(one.members[0], all_of_them.members[3], atol=1e-3, rtol=1e-3)
    assert one.rows == all_of_them.rows


@pytest.mark.parametrize("name", OPERATORS)
def test_colour_of_another_size_goes_through_every_method(name: str) -> None:
    shape = (3, 8, 12)
    x0 = Rng(0).normal((6, *shape)).mul(0.5).tanh()
    prior, degradation = exact_prior(x0), operator_named(name, shape)
    measured = corrupt(degradation, x0[:2], 0.1)
    settings = Settings(steps=2, members=2, candidates=2, rollout=2)
    for method in METHODS:
        black_box = method in ("DPS", "MPGD", "TMPD") and not degradation.differentiable
        if black_box or (method in ("TMPD", "exact") and not degradation.linear):
            with pytest.raises(NotApplicable, match=r"needs a (differentiable|linear)"):
                recover(method, prior, measured, settings)
        else:
            found = recover(method, prior, measured, settings)
            assert found.members.shape == (2, found.members.shape[1], *shape)
            assert bool(found.members.isfinite().all())


def test_costs_are_what_the_methods_declare(digits, prior) -> None:
    measured = corrupt(operator_named("super-resolution", GREY), digits.test.x[:3], 0.1)
    settings = Settings(steps=5, members=8, candidates=4, rollout=1)
    cost = {m: recover(m, prior, measured, settings) for m in METHODS}
    counted = {m: (c.rows, c.simulations, c.members.shape[1]) for m, c in cost.items()}
    assert counted["none"] == (40, 0, 8)
    assert counted["best-of-n"] == (40, 8, 2)
    assert counted["SCG"] == (2 + 4 * 8, 4 * 8, 2)  # the step to data is free
    assert counted["FK"] == (40, 40, 8)
    assert counted["EnKG"] == (80, 40, 8)
    assert counted["DPS"] == counted["MPGD"] == (40, 40, 8)
    assert counted["exact"] == (0, 0, 8)
    assert [cost[m].vjps for m in ("none", "DPS", "MPGD", "TMPD")] == [0, 5, 0, 5 * 17]


def test_scores_are_their_formulas() -> None:
    truth = Rng(0).normal((3, 1, 4, 4), torch.float64).mul(0.4).tanh()
    measured = corrupt(operator_named("inpainting", (1, 4, 4)), truth, 0.3)
    noise = Rng(1).normal((3, 5, 1, 4, 4), torch.float64)
    members = truth[:, None] + 0.6 * noise
    cut = np.clip(members.mean(1).numpy(), -1, 1)
    error = ((cut - truth.numpy()) ** 2).mean((1, 2, 3))
    np.testing.assert_allclose(psnr(members.mean(1), truth), 20 * np.log10(2 / np.sqrt(error)))
    norm = np.sqrt((truth.numpy() ** 2).mean((1, 2, 3)))
    np.testing.assert_allclose(relative_l2(members.mean(1), truth), np.sqrt(error) / norm)
    assert torch.allclose(psnr(truth * 0 + 1, truth * 0 - 1), torch.zeros(3).double())
    mask = measured.degradation.mask.numpy()
    residual = members.numpy()[..., mask] - measured.y.numpy()[:, None]
    expected = np.sqrt((residual**2).mean((1, 2, 3))) / 0.3
    np.testing.assert_allclose(misfit(members, measured), expected)
    of_truth = misfit(truth[:, None], measured)
    drawn = (measured.y - measured.degradation(truth)).numpy() / 0.3
    np.testing.assert_allclose(of_truth.numpy(), np.sqrt((drawn**2).mean((1, 2))))
    broken = members.clone()
    broken[1, 0] = math.nan
    assert misfit(broken, measured).isinf().tolist() == [False, True, False]

    def judge(x: Tensor) -> Tensor:
        """Tell whether the mean is above 0."""
        bright = x.mean((1, 2, 3)) > 0
        return torch.stack([~bright, bright], 1).double()

    labels = torch.tensor([0, 1, 1])
    found = scores(Recovery(members, 0, 0, 0, 0.0), measured, labels, judge)
    bright = members.mean((2, 3, 4)) > 0
    expected_share = (bright == labels[:, None].bool()).double().mean(1).tolist()
    assert found["accuracy"] == pytest.approx(expected_share)
    spread = members.numpy().std(1)
    np.testing.assert_allclose(found["spread"], np.sqrt((spread**2).mean((1, 2, 3))), atol=1e-4)
    assert "accuracy" not in scores(Recovery(members, 0, 0, 0, 0.0), measured, labels)


def test_pictures_are_cut_to_the_size_of_the_prior(tmp_path: Path) -> None:
    from PIL import Image

    halves = np.zeros((20, 40, 3), dtype=np.uint8)
    halves[:, 20:] = 255
    Image.fromarray(halves).save(tmp_path / "b.png")
    clear = Image.fromarray(np.zeros((8, 8, 4), dtype=np.uint8))
    clear.save(tmp_path / "a.png")
    (tmp_path / "notes.txt").write_text("not a picture")
    grey = read_pictures(tmp_path, (1, 4, 4))
    assert grey.shape == (2, 1, 4, 4)
    assert bool((grey[0] == 1).all())  # transparent is white, and a comes before b
    assert grey[1, 0, :, 0].tolist() == [-1] * 4 and grey[1, 0, :, 3].tolist() == [1] * 4
    colour = read_pictures(tmp_path / "b.png", (3, 4, 4))
    assert colour.shape == (1, 3, 4, 4) and torch.equal(colour[0, 0], grey[1, 0])
    (tmp_path / "c.png").write_bytes((tmp_path / "b.png").read_bytes()[:60])
    with pytest.raises(ValueError, match=r"cannot read the picture .*c.png"):
        read_pictures(tmp_path, (1, 4, 4))
    with pytest.raises(ValueError, match="no folder of pictures"):
        read_pictures(tmp_path / "nowhere", (1, 4, 4))
    with pytest.raises(ValueError, match="got a prior with 2"):
        read_pictures(tmp_path, (2, 4, 4))


@pytest.mark.parametrize("method", ["SCG", "EnKG", "FK", "DPS"])
def test_invert_draws_and_reports(method: str, tmp_path: Path, capsys) -> None:
    options = ["--method", method, "--operator", "box:top=0,left=0", "--index", "3", "5"]
    found = []
    for place in ("a", "b"):
        main(["invert", "--quick", *options, "--out", str(tmp_path / place)])
        report = json.loads((tmp_path / place / "report.json").read_text())
        found.append(report["each"])
        assert (tmp_path / place / "grid.png").read_bytes().startswith(b"\x89PNG")
    assert found[0] == found[1] and len(found[0]["psnr"]) == 2
    assert report["versions"]["torch"] and report["rows"] > 0
    assert f"{method} of box:top=0,left=0" in capsys.readouterr().out


def test_invert_takes_pictures_of_ones_own_and_a_trained_model(tmp_path: Path) -> None:
    from PIL import Image

    small = ["--model.width", "8", "--model.depth", "1"]
    main(["train", "--quick", "--out", str(tmp_path / "run"), *small])
    for i in range(2):
        Image.fromarray(np.full((16, 16), 90 * i, dtype=np.uint8)).save(tmp_path / f"{i}.png")
    places = ["--picture", str(tmp_path), "--prior", str(tmp_path / "run" / "model")]
    figures = tmp_path / "new" / "figures.json"
    out = ["--out", str(tmp_path / "out"), "--json", str(figures)]
    main(["invert", "--quick", "--method", "EnKG", *places, *out])
    assert len(json.loads(figures.read_text())["each"]["misfit"]) == 2
    message = ["invert", "--quick", "--method", "exact", *places, *out]
    with pytest.raises(SystemExit, match="known for the exact prior alone"):
        main(message)


def test_the_table_scores_what_applies_and_says_what_does_not(tmp_path: Path, capsys) -> None:
    main(["train-classifier", "--quick", "--out", str(tmp_path / "run")])
    path, figure = tmp_path / "table.json", tmp_path / "table.png"
    judge = ["--judge", str(tmp_path / "run" / "model")]
    chosen = ["--prior", "exact", "--operators", "jpeg", "box", "--methods", "EnKG", "DPS", "exact"]
    main(["invert-table", "--quick", *chosen, *judge, "--json", str(path), "--figure", str(figure)])
    rows = {(r["operator"], r["method"]): r for r in json.loads(path.read_text())["rows"]}
    assert len(rows) == 6
    assert "black box" in rows["jpeg", "DPS"]["not_applicable"]
    assert "linear" in rows["jpeg", "exact"]["not_applicable"]
    scored = rows["box", "EnKG"]
    assert scored["psnr"] == pytest.approx(np.mean(scored["each"]["psnr"]), abs=1e-3)
    assert 0 <= scored["accuracy"] <= 1 and scored["rows"] > 0
    assert figure.read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert f"{scored['psnr']:.3f}" in printed and "gradient-free" in printed


@pytest.mark.parametrize("name", ["image-inverse", "image-inverse-exact"])
def test_the_tables_of_the_readme_are_those_of_the_command(name: str) -> None:
    root = Path(__file__).resolve().parents[2]
    printed = (root / "domains" / "image" / "README.md").read_text()
    rows = json.loads((root / "docs" / f"{name}.json").read_text())["rows"]
    assert {row["operator"] for row in rows} == set(OPERATORS)
    for row in rows:
        if "not_applicable" in row:
            expected = f"{row['method']:10}{row['not_applicable']}"
        else:
            figures = [row[key] for key in ("psnr", "psnr_one", "rel_l2", "misfit", "spread")]
            expected = f"{row['method']:10}" + "".join(f"{value:10.3f}" for value in figures)
        assert expected in printed, (row["operator"], row["method"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--operator", "magic"], "unknown operator 'magic'; expected inpainting, box"),
        (["--operator", "jpeg:speed=1"], "jpeg has no option 'speed'; expected quality"),
        (["--method", "magic"], "unknown method 'magic'; expected none, best-of-n"),
        (["--operator", "jpeg", "--method", "DPS"], "DPS needs a differentiable energy"),
        (["--operator", "jpeg", "--method", "TMPD"], "TMPD needs a linear operator, got JPEG"),
        (["--operator", "phase-retrieval", "--method", "exact", "--prior", "exact"], "got Phase"),
        (["--method", "exact"], "known for the exact prior alone"),
        (["--index", "797"], "0 to 796, got (797,)"),
        (["--index", "-1"], "0 to 796, got (-1,)"),
        (["--noise", "0"], "above 0, got 0"),
        (["--steps", "0"], "at least 1 step"),
        (["--members", "1"], "2 members"),
        (["--pull", "-1"], "scales are 0 or positive, got -1"),
        (["--count", "0"], "at least 1 picture to draw"),
        (["--seed", "-1"], "a seed and threads of at least 0"),
        (["--picture", "nowhere"], "nowhere is no picture"),
        (["--prior", "nowhere"], "nowhere is no checkpoint"),
        (["--json", "."], "it is a folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes_in_inverting_are_one_sentence(
    arguments: list[str], message: str, tmp_path: Path, capsys
) -> None:
    assert message in fails(["invert", "--out", str(tmp_path), *arguments], capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--operators", "box", "magic"], "unknown operator 'magic'"),
        (["--operators"], "1 operator"),
        (["--methods", "magic"], "unknown method 'magic'"),
        (["--count", "0"], "at least 1 digit"),
        (["--count", "900"], "797 digits are held out, got a count of 900"),
        (["--judge", "nowhere"], "nowhere is no checkpoint"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes_in_the_table_are_one_sentence(arguments: list[str], message: str, capsys) -> None:
    assert message in fails(["invert-table", *arguments], capsys)


def test_a_prior_of_other_pictures_is_refused(prior) -> None:
    x0 = torch.zeros(1, 1, 4, 4)
    with pytest.raises(ValueError, match=r"of pictures \(1, 8, 8\), got measurements of \(1, 4, 4"):
        recover("SCG", prior, corrupt(operator_named("box", (1, 4, 4)), x0), SMALL)
