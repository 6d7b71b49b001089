"""Programs of any language as forward maps."""

import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from guided import Program, Simulator

PIPE = """
import sys
print(*[2 * float(word) for word in sys.stdin.read().split()])
"""
FILES = """
import sys, pathlib, numpy
assert not list(pathlib.Path.cwd().glob("left"))  # a folder of its own
pathlib.Path("left").touch()
x = numpy.load(sys.argv[1])
numpy.save(sys.argv[2].removeprefix("out="), 2 * x)
"""


def script(text: str) -> list[str]:
    return [sys.executable, "-c", text]


@pytest.mark.parametrize("workers", [1, 2])
def test_through_pipes_in_any_number_of_processes(workers: int) -> None:
    x = torch.arange(12.0).reshape(4, 3) / 7
    simulator = Simulator(Program(script(PIPE), (3,)), (3,), workers=workers)
    torch.testing.assert_close(simulator(x), 2 * x)


def test_through_files_of_any_shape() -> None:
    x = torch.arange(24.0).reshape(2, 2, 3, 2) / 7
    command = [*script(FILES), "{input}", "out={output}"]
    simulator = Simulator(Program(command, (2, 3, 2), kind="npy"), (2, 3, 2))
    torch.testing.assert_close(simulator(x), 2 * x)
    text = [*script(PIPE.replace("sys.stdin", "open(sys.argv[1])")), "{input}"]
    numbers = np.array([1 / 3, 1e-300, -2.0])
    assert np.array_equal(Program(text, (3,))(numbers), 2 * numbers)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import sys; sys.exit('no convergence')", "ended with 1: no convergence"),
        ("raise SystemExit(3)", "ended with 3: it wrote nothing"),
        ("print(1, 2)", r"gave 2 numbers, not the shape \(3,\)"),
        ("print('a', 'b', 'c')", "could not convert string to float"),
    ],
)
def test_what_goes_wrong_is_told(text: str, message: str) -> None:
    with pytest.raises((RuntimeError, ValueError), match=message):
        Program(script(text), (3,))(np.ones(3))


def test_failures_cost_their_row_and_time_limits_end_the_program(tmp_path: Path) -> None:
    hangs = f"""
import sys, time, pathlib
x = float(sys.stdin.read())
if x < 0: raise ValueError("negative")
if x > 1:
    time.sleep(3)
    pathlib.Path({str(tmp_path / "survived")!r}).touch()
print(x)
"""
    simulator = Simulator(Program(script(hangs), (1,)), (1,), workers=2, timeout=1.5)
    out = simulator(torch.tensor([[0.5], [-1.0], [2.0]]))
    assert out[0] == 0.5 and out[1:].isnan().all()
    assert simulator.pool.failures == {"exception": 1, "timeout": 1}
    assert "negative" in simulator.pool.messages["exception"]
    time.sleep(2.5)  # what was not ended would leave its trace
    assert not (tmp_path / "survived").exists()


def test_bad_commands_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot find the program"):
        Program(["no-such-program-at-all"], (1,))
    with pytest.raises(ValueError, match="cannot find the program"):
        Program([], (1,))
    with pytest.raises(ValueError, match="unknown kind of file 'csv'"):
        Program(["true"], (1,), kind="csv")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"wrote no output\.txt"):
        Program(["true", "{output}"], (1,))(np.ones(1))
