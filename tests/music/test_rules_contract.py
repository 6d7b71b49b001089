"""What every rule promises: purity, one loss per roll, zero for a copied target, clear errors."""

import math

import numpy as np
import pytest
import torch

from domains.music.roll import LOWEST, Notes, Roll, Rolls
from domains.music.rules import RULES, RuleEnergy, make_rule, parse_rule, parse_weight, rule_sum
from guided.energy import FunctionEnergy

COLUMNS = 64
TARGETS = {
    "pitch_histogram": "C:.5,E:.25,G:.25",
    "note_density": "vertical:3,horizontal:6",
    "chord_progression": "I-V-vi-IV",
    "chord_tones": "I-V-vi-IV",
    "chords": "C-G-Am-F",
    "key": "A minor",
    "pitch_range": "C3-C6",
    "polyphony": "max:4",
    "rhythm": "x..x..x.x..x..x.",
    "leap": "max:7",
    "parallels": "0",
}
OPTIONS = [(name, {}) for name in RULES] + [
    ("note_density", {"starts": "sustain", "window": 32}),
    ("chord_progression", {"mode": "music21"}),
    ("chord_progression", {"mode": "music21", "quarter": 8}),
    ("chord_progression", {"key": "A minor"}),
    ("chord_tones", {"key": "A minor"}),
    ("parallels", {"voices": 3}),
]


def some_rolls(batch: int, columns: int = COLUMNS, seed: int = 0) -> Rolls:
    """Random notes, a silent roll among them."""
    draw = np.random.default_rng(seed)
    rolls = []
    for i in range(batch):
        n = 0 if i == 2 else 90
        start = draw.integers(0, columns, n)
        pitch = draw.integers(LOWEST, LOWEST + 88, n)
        notes = Notes(start, start + draw.integers(1, 12, n), pitch, draw.integers(1, 128, n))
        rolls.append(Roll.from_notes(notes, columns))
    return Rolls.stack(rolls)


@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_rules_leave_rolls_and_targets_alone(name, options):
    rolls = some_rolls(7)
    velocity, onset = rolls.velocity.clone(), rolls.onset.clone()
    rule = make_rule(name, **options)
    target = rule.parse(TARGETS[name], COLUMNS)
    before = target.clone()
    energy = RuleEnergy(rule, target)
    first = energy(rolls)
    assert torch.equal(first, energy(rolls))
    assert torch.equal(rolls.velocity, velocity)
    assert torch.equal(rolls.onset, onset)
    assert torch.equal(target, before)


@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_a_roll_does_not_depend_on_its_batch(name, options):
    rolls = some_rolls(7)
    rule = make_rule(name, **options)
    energy = RuleEnergy(rule, rule.parse(TARGETS[name], COLUMNS))
    features, losses = rule.measure(rolls), energy(rolls)
    assert features.shape[0] == 7
    assert losses.shape == (7,)
    assert losses.dtype == torch.float32
    assert (losses >= 0).all()
    for i in range(7):
        one = Rolls(rolls.velocity[i : i + 1], rolls.onset[i : i + 1])
        assert rule.measure(one).shape == (1, *features.shape[1:])
        assert torch.equal(rule.measure(one)[0], features[i])
        assert torch.equal(energy(one)[0], losses[i])


@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_a_roll_obeys_the_target_copied_from_it(name, options):
    rolls = some_rolls(3)
    rule = make_rule(name, **options)
    target = rule.target_from(rolls)
    loss = float(rule.loss(rule.measure(rolls), target)[0])
    if name in ("key", "chord_tones"):  # a piece may have notes outside its own key or chords
        assert 0 < loss < 1
    else:
        assert loss == 0


@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_features_and_targets_have_a_text(name, options):
    rolls = some_rolls(3)
    rule = make_rule(name, **options)
    for row in rule.measure(rolls):  # the silent roll is the last
        assert rule.show(row)
    assert rule.show_target(rule.parse(TARGETS[name], COLUMNS))


ROUND_TRIPS = {
    "chord_progression": "I-V-VI-IV",
    "chord_tones": "I-V-VI-IV",
    "chords": "C-G-Am-F",
    "pitch_range": "C3-C6",
    "polyphony": "max:4",
    "leap": "max:7",
    "pitch_histogram": "C:0.50,E:0.25,G:0.25",
    "note_density": "vertical:2 2 3 3, horizontal:6 6 7 7",
    "rhythm": "x..x..x.x..x..x.|x..x..x.x..x..x.|x..x..x.x..x..x.|x..x..x.x..x..x.",
}


@pytest.mark.parametrize("name", ROUND_TRIPS)
def test_the_text_of_a_target_reads_as_the_same_target(name):
    rule, text = make_rule(name), ROUND_TRIPS[name]
    assert rule.show_target(rule.parse(text, COLUMNS)) == text


def test_the_registry_lists_rules_by_their_own_name():
    assert {name: rule.name for name, rule in RULES.items()} == {name: name for name in RULES}
    assert RULES.keys() == TARGETS.keys()


def test_an_unknown_rule_names_the_closest_one():
    with pytest.raises(ValueError, match=r"'note_densty'.*did you mean note_density\?.*leap"):
        make_rule("note_densty")
    with pytest.raises(ValueError, match=r"'wndow'.*did you mean window\?"):
        make_rule("note_density", wndow=8)


def test_options_stand_before_the_target():
    energy = parse_rule("chord_progression=key=C major; mode=music21; window=32; I-V", 64)
    assert energy.rule == make_rule("chord_progression", key="C major", mode="music21", window=32)
    assert energy.target.tolist() == [1, 5]
    density = parse_rule("note_density = horizontal_scale=2.0; horizontal:6", 32)
    assert density.rule.horizontal_scale == 2
    assert density.target[2:].tolist() == [3, 3]
    assert parse_rule("chord_progression=key=none; I", 16).rule.key is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("leap", "no target"),
        ("leap=", "no target"),
        ("jump=3", "'jump' is no rule"),
        ("leap=limit=3; max:7", "no option of leap; there are: none"),
        ("note_density=window; vertical:3", "where an option belongs"),
        ("note_density=window=0; vertical:3", "window=0"),
        ("note_density=window=bar; vertical:3", "window='bar'"),
        ("chord_progression=mode=fast; I", "mode='fast'"),
        ("chord_progression=key=H major; I", "'H' is no pitch class"),
    ],
)
def test_wrong_rule_texts_say_what_is_wrong(text, message):
    with pytest.raises(ValueError, match=message):
        parse_rule(text, COLUMNS)


def test_sums_have_the_default_weights_of_the_original():
    texts = [f"{name}={target}" for name, target in TARGETS.items()]
    total = rule_sum(texts, [], COLUMNS)
    assert total.weights == {name: 40.0 if name == "pitch_histogram" else 1.0 for name in TARGETS}
    assert not total.differentiable
    rolls = some_rolls(5)
    report = total.report(rolls)
    expected = sum(total.weights[name] * report[name] for name in TARGETS)
    torch.testing.assert_close(total(rolls), expected)


def test_weights_are_typed_by_name():
    total = rule_sum(["leap=max:7", "key=C major"], ["leap=2.5", "own=3"], COLUMNS, {"own": OWN})
    assert total.weights == {"own": 3.0, "leap": 2.5, "key": 1.0}
    assert parse_weight(" leap = 0 ") == ("leap", 0.0)
    for wrong in ("leap", "leap=much", "leap=-1", "leap=nan", "leap=inf"):
        with pytest.raises(ValueError, match="weight"):
            parse_weight(wrong)
    with pytest.raises(ValueError, match="'key' is no rule of this run"):
        rule_sum(["leap=max:7"], ["key=1"], COLUMNS)
    with pytest.raises(ValueError, match="twice"):
        rule_sum(["leap=max:7", "leap=max:5"], [], COLUMNS)


OWN = FunctionEnergy(lambda rolls: rolls.velocity.sum(dim=(1, 2)), differentiable=False)


@pytest.mark.parametrize("name", ["note_density", "chord_progression", "chord_tones", "chords"])
def test_lengths_that_are_no_whole_windows_are_refused(name):
    rule = make_rule(name)
    for columns in (8, 40):
        with pytest.raises(ValueError, match=f"{name} reads windows of 16.*roll of {columns}"):
            rule.measure(some_rolls(1, columns))
        with pytest.raises(ValueError, match="multiple of 16"):
            rule.parse(TARGETS[name], columns)


def test_an_empty_roll_has_the_documented_losses():
    silent = Rolls(torch.zeros(1, COLUMNS, 88), torch.zeros(1, COLUMNS, 88, dtype=torch.bool))
    losses = {n: float(parse_rule(f"{n}={t}", COLUMNS)(silent)) for n, t in TARGETS.items()}
    assert losses.pop("pitch_histogram") == pytest.approx((0.5**2 + 2 * 0.25**2) / 12)
    assert losses.pop("note_density") == pytest.approx((3**2 + 1.2**2) / 2)
    assert losses.pop("rhythm") == pytest.approx(6 / 16)
    assert math.isclose(float(parse_rule("polyphony=min:2", COLUMNS)(silent)), 2)
    assert losses == {
        "chord_progression": 1, "chord_tones": 1, "chords": 1,
        "key": 0, "pitch_range": 0, "polyphony": 0, "leap": 0, "parallels": 0,
    }  # fmt: skip
    for name in ("chord_progression", "chord_tones", "chords"):
        assert float(parse_rule(f"{name}=N", COLUMNS)(silent)) == 0
