"""The evaluation's figures are those of plain runs; its clips are real ones."""

import json
from dataclasses import replace
from math import sqrt

import numpy as np
import pytest
import torch

from domains.music.bench import Bench
from domains.music.codec import Codec
from domains.music.compose import Composer, Settings
from domains.music.data.corpus import Corpus, Piece, is_test, regular_downbeats
from domains.music.data.reference import SHIPPED, held_out, reference_clips, save, spread
from domains.music.data.reference import _load as load
from domains.music.evaluate import Evaluation, curve, digest, energies, evaluate, lowest, take
from domains.music.metrics import Overlap, features, overlap
from domains.music.model import ModelConfig, build
from domains.music.plots import error_curves
from domains.music.roll import Grid, Notes, Roll
from domains.music.scores import Cost, Report, RuleScores, Score
from guided.denoiser import Denoiser, Prediction
from guided.energy import WeightedSum
from guided.schedule import VE

RULES = ("pitch_histogram", "note_density", "chord_progression")
STEPS, N, COUNT = 8, 3, 2
QUIET = Evaluation(rules=RULES, candidates=N, count=COUNT, seed=5, draws=2, progress=False)


class RandomCells(Denoiser):
    """The exact denoiser of cells that are independent N(0, 1)."""

    schedule = VE(sigma_max=80.0)

    def forward(self, x, level, cond=None):
        x0 = x / (1 + level.sigma**2)
        return Prediction(x0, (x - x0) / level.sigma)


@pytest.fixture(scope="module")
def composer():
    return Composer(RandomCells(), Codec(sustain=(-0.9, 0.7), silence=0.05), Settings(steps=STEPS))


@pytest.fixture(scope="module")
def clips():
    return take(reference_clips(), slice(12))


@pytest.fixture(scope="module")
def report(composer, clips):
    return evaluate(composer, clips, QUIET)


def run(composer, method, clip, rule=None, energy=None, n=N):
    composer = replace(composer, settings=Settings(steps=STEPS, method=method, candidates=n))
    rules = None if rule is None else WeightedSum({rule: energy})
    return composer.compose(rules, count=1, seed=QUIET.seed, first=clip)


def test_the_pool_is_what_best_of_n_chooses_from(composer, clips):
    bench = Bench(composer, QUIET.seed, clips, "pop909")
    for clip in range(COUNT):
        pool = bench.pool(clip, 5)
        assert len(pool.velocity) == 5
        winners = set()
        for rule in RULES:
            energy = energies(rule, clips)[clip]
            own = run(composer, "best", clip, rule, energy, n=5)
            ours = lowest(pool, energy)
            assert torch.equal(ours.velocity, own.velocity)
            assert torch.equal(ours.onset, own.onset)
            winners.add(int(energy(pool).argmin()))
        assert winners != {0}  # else the first sample would pass for the best one


def test_targets_are_those_of_the_clips(clips):
    for rule in RULES:
        for i, energy in enumerate(energies(rule, clips)):
            assert energy(take(clips, slice(i, i + 1))).item() == 0
        assert energies(rule, clips)[0](take(clips, slice(1, 2))).item() > 0


def test_errors_are_those_of_plain_runs(composer, clips, report):
    for rule in RULES:
        wanted, scores = energies(rule, clips), report.rules[rule]
        guided = [run(composer, "scg", i, rule, wanted[i]) for i in range(COUNT)]
        best = [run(composer, "best", i, rule, wanted[i]) for i in range(COUNT)]
        for score, made in ((scores.scg, guided), (scores.best, best)):
            assert score.errors == [e(c).item() for e, c in zip(wanted, made, strict=False)]
        assert all(b <= n for b, n in zip(scores.best.errors, scores.none.errors, strict=True))
        a, b = scores.scg.errors
        assert scores.scg.mean == pytest.approx((a + b) / 2)
        assert scores.scg.se == pytest.approx(abs(a - b) / 2)  # sd / sqrt(2), ddof 1


def test_unguided_is_the_first_of_the_pool(composer, clips, report):
    bench = Bench(composer, QUIET.seed, clips, "pop909")
    first = [take(bench.pool(i, N), slice(1)) for i in range(COUNT)]
    for rule in RULES:
        errors = [e(c).item() for e, c in zip(energies(rule, clips), first, strict=False)]
        assert report.rules[rule].none.errors == errors


def test_overlaps_are_with_clips_that_give_no_target(clips, report):
    real = features(take(clips, slice(COUNT, None)))
    targets = features(take(clips, slice(COUNT)))
    wanted = overlap(real, targets, np.random.default_rng(QUIET.seed), draws=QUIET.draws)
    assert report.real == wanted
    nones = {scores.none.overlap.mean for scores in report.rules.values()}
    assert len(nones) == 1  # one pool


def test_costs_count_the_rows(report):
    assert report.none.clips == COUNT
    assert report.none.rows == COUNT * STEPS * N
    assert report.scg.clips == len(RULES) * COUNT
    assert report.scg.rows == len(RULES) * COUNT * (1 + (STEPS - 1) * N)
    assert report.scg.calls == len(RULES) * COUNT * STEPS
    for cost in (report.none, report.scg):
        assert 0 < cost.network_seconds < cost.seconds <= report.seconds
    assert 0 < report.scg.rule_seconds < report.scg.seconds - report.scg.network_seconds


def test_report_goes_into_json_and_text(report):
    figures = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    scores = report.rules["note_density"]
    stored = figures["rules"]["note_density"]
    assert stored["scg"]["mean"] == scores.scg.mean
    assert stored["scg"]["overlap"]["sd"] == scores.scg.overlap.sd
    assert stored["none_over_scg"] == pytest.approx(scores.none.mean / scores.scg.mean)
    assert figures["setup"]["settings"]["steps"] == STEPS
    assert figures["setup"]["seed"] == QUIET.seed
    assert len(figures["checks"]) == 3 * len(RULES) + 1
    assert "note_density" in report.text()
    assert "real clips" in report.text()


def test_the_same_seed_gives_the_same_errors_and_another_does_not(composer, clips, report):
    one = replace(QUIET, rules=("note_density",))
    errors = [
        evaluate(composer, clips, replace(one, seed=seed)).rules["note_density"].scg.errors
        for seed in (QUIET.seed, QUIET.seed + 1)
    ]
    assert errors[0] == report.rules["note_density"].scg.errors
    assert errors[0] != errors[1]


def score(mean, overlap=0.8):
    return Score(mean, 0.1, Overlap(overlap, 0.01, {}), [mean, mean])


@pytest.mark.parametrize(
    ("rule", "none", "best", "scg", "near", "reached"),
    [
        ("note_density", 10.0, 2.0, 1.0, 0.78, [True, True, True]),
        ("note_density", 9.9, 2.0, 1.0, 0.78, [False, True, True]),
        ("pitch_histogram", 5.0, 1.0, 1.0, 0.9, [True, False, True]),
        ("chord_progression", 2.4, 2.0, 1.0, 0.76, [True, True, False]),
        ("chord_progression", 0.5, 0.1, 0.0, 0.8, [True, True, True]),
        ("leap", 0.5, 0.1, 0.3, 0.8, [False, True]),
    ],
)
def test_targets_are_judged(rule, none, best, scg, near, reached):
    scores = RuleScores(score(none), score(best), score(scg, near))
    assert [check.reached for check in scores.checks(rule)] == reached


def test_missed_targets_are_said_so():
    scores = RuleScores(score(4.0), score(1.0), score(2.0))
    slow, quick = Cost(1, 11.5, 10.0, 1.0, 5, 80), Cost(1, 10.5, 10.0, 0.1, 5, 80)
    real = Overlap(0.9, 0.01, {})
    setup = {"candidates": 16, "count": 64}
    report = Report({"leap": scores}, real, quick, slow, 30.0, setup, "", {})
    assert [check.reached for check in report.checks()] == [False, True, False]
    assert report.checks()[-1].found == "15.0%"
    lines = report.text().splitlines()
    assert sum(line.startswith("MISSED") for line in lines) == 2
    assert sum(line.startswith("yes") for line in lines) == 1
    quick_report = replace(report, scg=quick)
    assert quick_report.checks()[-1].reached
    assert scores.none_over_scg == 2
    assert scores.best_over_scg == 0.5


def test_curve_starts_at_the_model_alone(composer, clips):
    points = curve(
        composer, clips, RULES[:2], candidates=(1, N), count=COUNT, seed=QUIET.seed, progress=False
    )
    for rule in RULES[:2]:
        wanted = energies(rule, clips)
        for (n, mean, se), method in zip(points[rule], ("none", "scg"), strict=True):
            assert n == (1 if method == "none" else N)
            made = [run(composer, method, i, rule, wanted[i]) for i in range(COUNT)]
            errors = [e(c).item() for e, c in zip(wanted, made, strict=False)]
            assert mean == pytest.approx(np.mean(errors))
            assert se == pytest.approx(np.std(errors, ddof=1) / sqrt(COUNT))
    error_curves(points)


def test_digest_tells_models_apart(composer):
    one, other = (build(ModelConfig(width=24, depth=1, heads=2)) for _ in range(2))
    other.load_state_dict(one.state_dict())
    composer, twin = replace(composer, denoiser=one), replace(composer, denoiser=other)
    assert digest(twin) == digest(composer)
    with torch.no_grad():
        next(iter(other.parameters())).add_(1e-3)
    assert digest(twin) != digest(composer)
    assert digest(replace(composer, codec=Codec(silence=-0.1))) != digest(composer)


@pytest.mark.parametrize(
    "wrong", [{"candidates": 1}, {"count": 1}, {"draws": 0}, {"rules": ()}, {"rules": ("no",)}]
)
def test_bad_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=r"give at least|is no rule"):
        Evaluation(**wrong)


def test_too_few_clips_are_refused(composer, clips):
    with pytest.raises(ValueError, match="got 12 real clips; give 14"):
        evaluate(composer, clips, replace(QUIET, count=7))
    with pytest.raises(ValueError, match="got 12 real clips; give 13"):
        curve(composer, clips, count=13)
    with pytest.raises(ValueError, match="give 1 or more"):
        curve(composer, clips, candidates=(0, 4))


def test_shipped_clips():
    clips = reference_clips()
    assert clips.velocity.shape == (256, 128, 88)
    assert SHIPPED.stat().st_size < 300_000
    assert "MIT License" in (SHIPPED.parent / "LICENSE").read_text()
    assert "POP909" in (SHIPPED.parent / "README.md").read_text()
    assert len({row.numpy().tobytes() for row in clips.velocity}) > 250  # some songs repeat bars
    struck = clips.onset.any(-1).unflatten(1, (8, 16)).any(-1)
    assert (struck.sum(1) > 4).all()
    assert (clips.velocity[clips.onset] > 0).all()


def test_fewer_clips_are_the_first_of_more():
    every, some, others = reference_clips(), reference_clips(count=9), reference_clips(seed=1)
    assert torch.equal(some.velocity, every.velocity[:9])
    assert not torch.equal(others.velocity, every.velocity)
    assert torch.equal(others.velocity.sum((1, 2)).sort().values,
                       every.velocity.sum((1, 2)).sort().values)  # fmt: skip
    for count in (0, 257):
        with pytest.raises(ValueError, match="of 256 real clips"):
            reference_clips(count=count)


def piece(name, clips, pitch):
    """Make a piece of `clips` clips: clip i has the pitch `pitch` + i in every bar."""
    start = np.arange(clips * 8) * 16
    notes = Notes(start, start + 8, pitch + start // 128, np.full(len(start), 64))
    roll = Roll.from_notes(notes, clips * 128)
    return Piece(name, roll, regular_downbeats(roll.columns, Grid()))


def corpora():
    names = [f"song {i}" for i in range(60)]
    held = [name for name in names if is_test(name)][:3]
    kept = next(name for name in names if not is_test(name))
    pieces = [piece(name, n, p) for name, n, p in zip(held, (1, 5, 3), (20, 40, 60), strict=True)]
    pop = Corpus.of("pop909", [*pieces, piece(kept, 4, 80)], [], Grid())
    chorales = Corpus.of("chorales", [piece(held[0], 2, 90)], [], Grid())
    return pop, chorales


def test_clips_of_a_corpus_are_its_held_out_pop(tmp_path):
    pop, chorales = corpora()
    corpus = Corpus.join([chorales, pop])
    corpus.save(tmp_path / "corpus.npz")
    clips = reference_clips(tmp_path / "corpus.npz")
    pitches = [roll.notes().pitch for roll in clips.rolls()]
    assert all(len(set(p)) == 1 for p in pitches if len(p))
    # 20 is below the piano: the first piece's one clip has no note, and is no clip
    assert sorted(p[0] for p in pitches) == [40, 41, 42, 43, 44, 60, 61, 62]
    chorales.save(tmp_path / "chorales.npz")
    with pytest.raises(ValueError, match="no test clips of pop909"):
        reference_clips(tmp_path / "chorales.npz")
    with pytest.raises(ValueError, match="no corpus file"):
        reference_clips(tmp_path / "missing.npz")


@pytest.mark.parametrize(
    ("count", "chosen"), [(1, {61}), (2, {42, 61}), (6, {40, 42, 44, 60, 61, 62}), (8, None)]
)
def test_spread_takes_as_much_of_every_piece(count, chosen):
    corpus = corpora()[0]
    starts = held_out(corpus)
    found = spread(corpus, starts, count)
    assert len(set(found)) == count
    assert set(found) <= set(starts)
    pieces = np.searchsorted(corpus.offsets, found, "right") - 1
    share = [np.sum(pieces == p) for p in (1, 2)]
    assert share == {1: [0, 1], 2: [1, 1], 6: [3, 3], 8: [5, 3]}[count]
    pitches = {int(corpus.velocity[start].argmax()) + 21 for start in found}
    assert chosen is None or pitches <= chosen
    assert np.array_equal(found, spread(corpus, starts, count))
    with pytest.raises(ValueError, match="of 8 clips"):
        spread(corpus, starts, 9)


def test_file_of_clips_comes_back(tmp_path):
    rng = np.random.default_rng(0)
    velocity = rng.integers(0, 128, (4, 128, 88)).astype(np.uint8)
    wanted = [Roll(v, (v > 100)) for v in velocity]
    save(tmp_path / "clips.npz", wanted)
    for one, other in zip(load(tmp_path / "clips.npz"), wanted, strict=True):
        assert np.array_equal(one.velocity, other.velocity)
        assert np.array_equal(one.onset, other.onset)
    (tmp_path / "bad.npz").write_bytes((tmp_path / "clips.npz").read_bytes()[:100])
    with pytest.raises(ValueError, match="no file of clips"):
        load(tmp_path / "bad.npz")
