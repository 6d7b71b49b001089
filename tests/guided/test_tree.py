"""The two trees: their law, the fast scores, the figures, and what the papers say of contrasts."""

import json
import math

import pytest
import torch

from guided import Rng
from guided.bench.cli import main
from guided.bench.tree import COLUMNS, QUICK, Case
from guided.bench.tree_law import BEADS, GENERATIONS, PARTS, trees
from guided.bench.tree_methods import METHODS, PICTURED
from guided.bench.tree_model import NULL, SCHEDULE, Planar, Smoothed, unlabelled
from guided.bench.tree_scores import mean_and_half
from guided.exact import Mixture


@pytest.fixture(scope="module")
def case() -> Case:
    """The trees of one seed."""
    return Case.of(0, blur=0.015)


@pytest.fixture(scope="module")
def figures(case):
    """Figures of a method, each method run once."""
    known: dict[str, dict[str, float]] = {}

    def of(name: str) -> dict[str, float]:
        if name not in known:
            x, calls = case.run(name, 384)
            known[name] = case.judge.figures(case.judge.scored(x)) | {"calls": calls}
        return known[name]

    return of


def test_a_tree_is_connected_and_its_generations_weigh_the_same() -> None:
    left, right = trees(3)
    assert not torch.equal(left.branches.angle, right.branches.angle)
    for tree in (left, right):
        branches = tree.branches
        assert len(branches.angle) == 2**GENERATIONS - 1
        ends = branches.start + branches.length[:, None] * branches.along
        for child in range(1, len(ends)):  # numbered generation by generation, two of each
            torch.testing.assert_close(branches.start[child], ends[(child - 1) // 2])
        generation = branches.generation.repeat_interleave(BEADS)
        mass = torch.zeros(GENERATIONS).double().index_add_(0, generation, tree.law.weights)
        torch.testing.assert_close(mass, torch.full_like(mass, 1 / GENERATIONS))


def test_a_branch_is_as_long_as_its_line_and_thin() -> None:
    tree, _ = trees(0)
    branches, size = tree.branches, BEADS
    for k in (0, 5, 40):
        own, _ = tree.law.select(torch.arange(len(tree.part)) // size == k)
        middle = branches.start[k] + branches.length[k] / 2 * branches.along[k]
        torch.testing.assert_close(own.mean(), middle)
        variances = torch.linalg.eigvalsh(own.cov())
        # A row of equal beads: the variance of their places, and that of each.
        along = branches.length[k] ** 2 * ((1 - size**-2) / 12 + (0.5 / size) ** 2)
        torch.testing.assert_close(variances[1], along)
        assert float(variances[0]) == pytest.approx(float(0.02 * branches.length[k]) ** 2)


def test_parts_are_the_lower_branches_and_all_that_grows_on_a_twig() -> None:
    tree, _ = trees(1)
    generation, part = tree.branches.generation, tree.branches.part
    assert part.unique().tolist() == list(range(PARTS))
    assert part[:PARTS].tolist() == list(range(PARTS))
    for child in range(PARTS, len(part)):
        assert part[child] == part[(child - 1) // 2]
    assert float(tree.masses.sum()) == pytest.approx(1)
    twigs = tree.masses[part[generation == GENERATIONS - 1].unique()]
    torch.testing.assert_close(twigs, torch.full_like(twigs, (GENERATIONS - 3) / GENERATIONS / 8))
    draws = tree.law.sample(4096, Rng(0))
    assert float((tree.shares(draws) - tree.masses).abs().max()) < 0.02


@pytest.mark.parametrize("sigma", [5.0, 0.3, 0.02, 0.002])
@pytest.mark.parametrize("blur", [0.0, 0.03])
def test_the_fast_score_is_that_of_the_mixture(sigma: float, blur: float) -> None:
    law = trees(0)[0].law
    eye = torch.eye(2, dtype=torch.float64)
    wide = Mixture(law.weights, law.means, law.covariances.matrices() + blur**2 * eye)
    level = SCHEDULE.level(SCHEDULE.time(sigma))
    x = law.sample(50, Rng(0)) + level.sigma * Rng(1).normal((50, 2), torch.float64)
    expected = -wide.predict(x, level).eps / level.sigma
    torch.testing.assert_close(Planar(law, blur).score(x, level), expected, rtol=1e-8, atol=1e-8)


def test_every_row_has_the_law_of_its_label() -> None:
    two = trees(2)
    denoiser = Smoothed(two, 0.01, 0.02)
    level = SCHEDULE.level(0.6)
    x = Rng(0).normal((6, 2), torch.float64)
    cond = torch.tensor([1, 0, NULL, 0, 1, NULL])
    found = denoiser(x, level, cond)
    for label in range(3):
        rows = cond == label
        alone = denoiser(x[rows], level, cond[rows])
        torch.testing.assert_close(found.take(rows.nonzero()[:, 0]), alone)
    torch.testing.assert_close(level.alpha * found.x0 + level.sigma * found.eps, x)
    assert unlabelled(cond).tolist() == [NULL] * 6


def test_means_have_the_interval_of_student() -> None:
    found = mean_and_half([1.0, 2.0, 6.0])
    # Quantile 4.303 of two degrees of freedom, standard deviation sqrt 7.
    assert found["mean"] == 3
    assert found["half"] == pytest.approx(4.302653 * math.sqrt(7 / 3), rel=1e-6)
    assert mean_and_half([1.0]) == {"mean": 1.0, "half": None}


def test_exact_draws_have_no_outliers_to_speak_of_and_lose_nothing(figures) -> None:
    for name in ("exact draws", "exact scores"):
        found = figures(name)
        assert found["outliers"] < 2.5
        assert found["lost"] == 0
        assert found["tv"] < 0.12
        assert found["sw2"] < 0.07
    assert figures("exact draws")["calls"] == 0
    assert figures("exact scores")["calls"] == 47


def test_autoguidance_cuts_outliers_by_two_thirds_and_loses_no_part(figures) -> None:
    plain, guided = figures("unguided"), figures("autoguidance 3")
    assert plain["outliers"] > 25
    assert guided["outliers"] < plain["outliers"] / 3
    assert guided["lost"] == plain["lost"] == 0
    assert guided["tv"] < plain["tv"] + 0.02
    assert guided["density"] > plain["density"] + 3
    assert guided["calls"] == 2 * plain["calls"]


def test_cfg_loses_parts_and_the_interval_restores_them(figures) -> None:
    everywhere, limited = figures("CFG 4"), figures("CFG 4, interval")
    assert everywhere["lost"] >= 6
    assert limited["lost"] == 0
    assert limited["tv"] < everywhere["tv"] / 3
    assert limited["sw2"] < everywhere["sw2"] / 4
    assert limited["outliers"] < figures("unguided")["outliers"] / 3
    assert limited["calls"] < 0.8 * everywhere["calls"]


def test_cfg_is_right_only_where_its_unconditional_model_is_worse(figures) -> None:
    equal, worse = figures("CFG 4, equal blur"), figures("CFG 4")
    assert equal["outliers"] > figures("unguided")["outliers"]
    assert worse["outliers"] < equal["outliers"] / 4
    # Parts are lost even with exact scores: that is what CFG samples, and no error of a model.
    assert figures("CFG 4, exact scores")["lost"] >= 6
    assert figures("CFG 4, exact scores")["outliers"] < 2.5


def test_icg_is_a_catastrophe_where_a_model_knows_its_few_classes(figures) -> None:
    assert figures("ICG 1.5")["outliers"] > figures("unguided")["outliers"] + 10
    assert figures("ICG 4")["lost"] >= 6


def test_apg_with_a_radius_keeps_parts_that_cfg_loses(figures) -> None:
    capped, cfg = figures("APG 4, eta 0, r 0.05"), figures("CFG 4")
    assert capped["lost"] < cfg["lost"] / 3
    assert capped["sw2"] < cfg["sw2"] / 3
    assert capped["outliers"] < figures("unguided")["outliers"] / 2


def test_ag_ends_where_noise_is_low_which_is_where_cfg_is_of_use_here(figures) -> None:
    adaptive, cfg = figures("AG 4, cosine 0.9999"), figures("CFG 4, DPM++ 2M")
    assert 60 < adaptive["calls"] < 0.9 * cfg["calls"]
    assert adaptive["outliers"] > 3 * cfg["outliers"]
    assert adaptive["lost"] >= 3
    # In the plane, all cosines are above the source's threshold where noise is high.
    assert figures("AG 4, cosine 0.99")["calls"] < 52


def test_the_picture_shows_methods_that_are_there() -> None:
    assert set(PICTURED) < set(METHODS)
    assert set(QUICK) < set(PICTURED)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--methods", "magic"], "unknown method 'magic'"),
        (["--samples", "4"], "at least 16 samples"),
        (["--blur", "0"], "a blur above 0"),
    ],
)
def test_tree_refuses_bad_input(arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        main(["tree", *arguments])


def test_tree_prints_a_line_a_method_and_keeps_all_figures(tmp_path, capsys) -> None:
    threads = torch.get_num_threads()
    path, picture = tmp_path / "new" / "tree.json", tmp_path / "tree.png"
    main(["tree", "--quick", "--json", str(path), "--figure", str(picture)])
    torch.set_num_threads(threads)
    printed = capsys.readouterr().out
    found = json.loads(path.read_text())
    assert [row["method"] for row in found["rows"]] == ["exact draws", *QUICK]
    for row in found["rows"]:
        assert row["method"] in printed
        assert len(row["seeds"]) == 2
        for column in COLUMNS:
            values = [seed[column] for seed in row["seeds"]]
            assert row[column] == mean_and_half(values)
    assert picture.read_bytes().startswith(b"\x89PNG")
