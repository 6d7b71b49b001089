"""From what a user typed to an energy: typed targets, targets copied from a piece, own rules."""

from collections.abc import Sequence
from pathlib import Path

from domains.music.midi import read_midi
from domains.music.roll import Grid, Roll, Rolls
from domains.music.rules import RuleEnergy, make_rule, rule_sum
from domains.music.rules.user import load_user_rule, to_arrays
from guided.blackbox import BlackBox
from guided.energy import Energy, WeightedSum

COPIED = ("pitch_histogram", "note_density", "chord_progression")
"""The rules that ``--like`` copies where none are named."""


def ask(
    rules: Sequence[str],
    weights: Sequence[str],
    columns: int,
    *,
    like: Path | None = None,
    grid: Grid | None = None,
    tempo: float = 120.0,
    workers: int = 1,
    timeout: float = 5.0,
) -> WeightedSum | None:
    """Return what the clips have to obey; None where nothing is asked.

    Args:
        rules: ``name=target``; ``name`` alone copies its target from ``like``; or
            ``path/to/file.py:function``, a rule of the user's own.
        weights: ``name=number``.
        columns: length of a clip.
        like: a MIDI file whose first ``columns`` columns targets are copied from.
        grid: time grid of the clips.
        tempo: beats a minute, for user rules that read a MIDI object.
        workers: processes for user rules.
        timeout: seconds that one evaluation of a user rule may take.

    Raises:
        ValueError: for a text, file or function that is wrong, in one sentence.
    """
    grid = grid or Grid()
    typed: list[str] = []
    others: dict[str, Energy] = {}
    reference = None if like is None else reference_rolls(like, columns, grid)
    named = list(rules) or (list(COPIED) if reference is not None else [])
    for text in named:
        if ".py:" in text:
            function = load_user_rule(text, grid, tempo)
            others[text.rpartition(":")[2]] = BlackBox(
                function, workers=workers, timeout=timeout, convert=to_arrays
            )
        elif "=" in text:
            typed.append(text)
        else:
            others[text] = _copied(text, reference)
    if not typed and not others:
        if weights:
            raise ValueError(f"got weights {list(weights)} but no rule to weigh; give --rule")
        return None
    return rule_sum(typed, weights, columns, others)


def _copied(name: str, reference: Rolls | None) -> RuleEnergy:
    rule = make_rule(name)
    if reference is None:
        raise ValueError(
            f"rule {name!r} has no target; type one, {name}=..., or copy it with --like FILE.mid"
        )
    return RuleEnergy(rule, rule.target_from(reference))


def reference_rolls(path: Path, columns: int, grid: Grid) -> Rolls:
    """Return the first ``columns`` columns of a MIDI file, padded with silence, as one clip."""
    return Rolls.stack([fit(read_midi(path, grid), columns)])


def fit(roll: Roll, columns: int) -> Roll:
    """Cut a roll to ``columns`` columns, or fill it up with silence."""
    return Roll.from_notes(roll.notes(), columns, roll.grid, roll.tempo)
