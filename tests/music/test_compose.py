"""The composer: reproducible, guided by rules, keeps what it is told to keep."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from domains.music import Composer, Grid, Roll, Rolls, Settings, rule_sum
from domains.music.compose import Kept
from domains.music.span import Span, extend, infill
from tests.music.test_codec import random_roll

FAST = Settings(steps=4, candidates=2)


@pytest.fixture(scope="module")
def composer() -> Composer:
    return Composer.load(settings=FAST)


def test_a_clip_does_not_depend_on_the_count(composer: Composer) -> None:
    rules = rule_sum(["note_density=vertical:4"], [], 64)
    three = composer.compose(rules, count=3, seed=5, columns=64)
    second = composer.compose(rules, count=1, seed=5, first=1, columns=64)
    assert torch.equal(three.onset[1], second.onset[0])
    again = composer.compose(rules, count=3, seed=5, columns=64)
    assert torch.equal(three.velocity, again.velocity)


def test_half_precision_makes_nearly_the_same_clips(composer: Composer) -> None:
    half = replace(composer, settings=replace(FAST, precision="bf16"))
    a, b = (one.compose(count=2, columns=64).velocity > 0 for one in (composer, half))
    assert a.any() and (a != b).sum() < 0.2 * a.sum()


@pytest.mark.parametrize("method", ["scg", "best"])
def test_rules_are_obeyed_better_than_without(composer: Composer, method: str) -> None:
    rules = rule_sum(["note_density=vertical:2,horizontal:4"], [], 64)
    settings = Settings(steps=12, candidates=8, method=method)
    guided = replace(composer, settings=settings).compose(rules, count=4, columns=64)
    plain = replace(composer, settings=replace(settings, method="none"))
    unguided = plain.compose(count=4, columns=64)
    assert rules(guided).mean() < 0.7 * rules(unguided).mean()


def test_kept_columns_are_kept_exactly(composer: Composer) -> None:
    given = Rolls.stack([random_roll(0, 64)])
    columns = torch.arange(64) < 40
    made = composer.compose(count=2, columns=64, kept=Kept(given, columns))
    for clip in range(2):
        assert torch.equal(made.velocity[clip, :40], given.velocity[0, :40])
        assert torch.equal(made.onset[clip, :40], given.onset[0, :40])
    assert not torch.equal(made.velocity[0, 40:], made.velocity[1, 40:])


def test_infilling_keeps_every_other_bar(composer: Composer) -> None:
    piece = random_roll(3, 16 * 12)
    span = Span.of(piece, 5, 7)
    (made,) = infill(composer, span, None, count=1, seed=0, corpus=None)
    outside = np.ones(16 * 12, bool)
    outside[16 * 4 : 16 * 7] = False
    assert np.array_equal(made.velocity[outside], piece.velocity[outside])
    assert not np.array_equal(made.velocity[~outside], piece.velocity[~outside])


def test_continuing_keeps_the_piece_and_adds_bars(composer: Composer) -> None:
    piece = random_roll(4, 16 * 5)
    made = extend(composer, piece, 6, None, number=0, seed=0, corpus=None)
    assert made.columns == 16 * 11
    assert np.array_equal(made.velocity[: 16 * 5], piece.velocity)
    assert made.onset[16 * 5 :].any()


@pytest.mark.parametrize(
    ("bars", "message"),
    [((0, 2), "not in the piece"), ((3, 2), "not in the piece"), ((1, 7), "at most 6")],
)
def test_spans_that_cannot_be_are_refused(bars: tuple[int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Span.of(random_roll(0, 16 * 8), *bars)


def test_contradictory_rules_leave_residuals_and_do_not_crash(composer: Composer) -> None:
    rules = rule_sum(["polyphony=max:0", "note_density=vertical:6"], [], 64)
    made = composer.compose(rules, count=1, columns=64)
    errors = rules.report(made)
    assert all(torch.isfinite(e).all() for e in errors.values())
    assert sum(e.item() for e in errors.values()) > 0


def test_five_lines_of_the_readme(composer: Composer, tmp_path) -> None:
    rolls = composer.compose(columns=64)
    path = tmp_path / "song.mid"
    roll: Roll = rolls.rolls(Grid(), 100.0)[0]
    roll.to_midi(path)
    assert path.stat().st_size > 0
