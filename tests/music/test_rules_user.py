"""Rules of the user: what their functions get, and what is said when they do not fit."""

import pickle

import numpy as np
import pytest
import torch

from domains.music.roll import Grid, Notes, Roll, Rolls
from domains.music.rules.user import load_user_rule, to_arrays
from guided.blackbox import BlackBox

SOURCE = """
from __future__ import annotations

import dataclasses
import pretty_midi


@dataclasses.dataclass
class Scale:
    top: int = 127


def loudest(roll, limit=Scale().top):
    assert roll.shape == (16, 88) and roll.dtype == "uint8"
    top = roll.max() / limit
    roll[:] = 0  # a careless user
    return top


def starts(velocity, onset):
    assert onset.shape == (16, 88) and onset.dtype == bool
    return onset.sum()


def length(midi):
    return midi.get_end_time()


def notes(song: pretty_midi.PrettyMIDI):
    return sum(len(i.notes) for i in song.instruments)


def text(roll):
    return "loud"


def nothing():
    return 0


def three(a, b, c):
    return 0


def keyword(roll, *, scale):
    return 0
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "my_rules.py"
    path.write_text(SOURCE)
    return path


@pytest.fixture
def rolls() -> Rolls:
    start, end = np.array([0, 4, 8]), np.array([4, 8, 12])
    loud = Roll.from_notes(Notes(start, end, np.array([60, 60, 64]), np.array([127, 64, 32])), 16)
    quiet = Roll.from_notes(Notes(start[:1], end[:1], np.array([21]), np.array([1])), 16)
    return Rolls.stack([loud, quiet])


def test_rolls_become_midi_numbers(rolls):
    arrays = to_arrays(rolls)
    assert arrays.dtype == np.uint8
    assert arrays.shape == (2, 2, 16, 88)
    assert arrays[0, 0, [0, 4, 8], [39, 39, 43]].tolist() == [127, 64, 32]
    assert np.argwhere(arrays[:, 1]).tolist() == [[0, 0, 39], [0, 4, 39], [0, 8, 43], [1, 0, 0]]


@pytest.mark.parametrize(
    ("function", "losses"),
    [
        ("loudest", [1, 1 / 127]),
        ("starts", [3, 1]),
        ("length", [12 / 16 * 4, 4 / 16 * 4]),  # 16 columns are 4 beats of 1 second at 60 bpm
        ("notes", [3, 1]),
    ],
)
def test_a_function_gets_what_its_parameters_ask_for(file, rolls, function, losses):
    rule = load_user_rule(f"{file}:{function}", Grid(), tempo=60)
    arrays = to_arrays(rolls)
    before = arrays.copy()
    assert [rule(array) for array in arrays] == pytest.approx(losses)
    np.testing.assert_array_equal(arrays, before)


def test_a_function_is_an_energy_of_rolls(file, rolls):
    energy = BlackBox(load_user_rule(f"{file}:loudest"), convert=to_arrays)
    torch.testing.assert_close(energy(rolls), torch.tensor([1.0, 1 / 127]))
    assert not energy.failures


def test_a_rule_travels_to_another_process(file, rolls):
    rule = load_user_rule(f"{file}:starts", Grid(fs=10.0), tempo=90)
    copy = pickle.loads(pickle.dumps(rule))
    assert copy == rule
    assert copy(to_arrays(rolls)[0]) == 3


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("{file}", "is not file and function"),
        ("{file}:", "is not file and function"),
        (":loudest", "is not file and function"),
        ("{file}x:loudest", "does not exist"),
        ("{file}:quietest", "no function 'quietest'; it has: loudest, starts, length"),
        ("{file}:nothing", r"needs the parameters none; take \(roll\)"),
        ("{file}:three", "needs the parameters a, b, c; take"),
        ("{file}:keyword", "needs the parameters roll, scale; take"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(file, spec, message):
    with pytest.raises(ValueError, match=message):
        load_user_rule(spec.format(file=file))


def test_a_broken_file_and_a_wrong_result_are_told(tmp_path, file, rolls):
    broken = tmp_path / "broken.py"
    broken.write_text("def rule(roll): return 1 +")
    with pytest.raises(ValueError, match=r"broken.py does not load \(SyntaxError"):
        load_user_rule(f"{broken}:rule")
    notes = tmp_path / "notes.txt"
    notes.write_text("hello")
    with pytest.raises(ValueError, match=r"notes.txt is no Python file"):
        load_user_rule(f"{notes}:rule")
    with pytest.raises(TypeError, match="text returned str; return one number"):
        load_user_rule(f"{file}:text")(to_arrays(rolls)[0])
